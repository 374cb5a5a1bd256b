"""Texts that the LM writes beside the queue: they are no jobs, so few are written at a time, each with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from frontend.errors import RequestError
from frontend.songs.client import SongClient
from frontend.songs.errors import SongError

MOST_AT_A_TIME = 4
_SOON = {"Retry-After": "5"}


class Texts:
    """Writes with `songs`; what takes longer than `seconds` is given up."""

    def __init__(self, songs: SongClient, seconds: float) -> None:
        self._songs = songs
        self._seconds = seconds
        self._being_written = 0

    async def write(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The metadata that the LM writes for a request of the pipeline's that is no song.

        Errors: RequestError 400 for what cannot be served, 429 while others are written, 500 for a fault, 503 while
        the LM is away, 504 after the deadline.
        """
        if self._being_written >= MOST_AT_A_TIME:
            raise RequestError(429, f"Server busy: {MOST_AT_A_TIME} texts are being written", _SOON)
        self._being_written += 1
        try:
            async with asyncio.timeout(self._seconds):
                return await self._songs.write(request)
        except TimeoutError:
            raise RequestError(504, f"The text was not ready within {self._seconds:g} seconds") from None
        except SongError as error:
            raise _refusal(error) from None
        finally:
            self._being_written -= 1


def _refusal(error: SongError) -> RequestError:
    if error.status in (503, 504):
        return RequestError(503, error.text, _SOON)
    return RequestError(400 if error.status == 400 else 500, error.text)
