"""A song as OpenAI's own models answer with audio: one object, in a stream the pieces of it."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from frontend import musicality

from .files import SongFile

_PIECE = 3 << 13  # bytes of a file; as base64 32 KiB, and without padding


def audio(file: SongFile, result: Mapping[str, Any]) -> dict[str, Any]:
    """The object, its data still to be spliced in."""
    return {"id": _new_id(), "data": file.mark, "expires_at": _expiry(), "transcript": _transcript(result)}


async def pieces(file: SongFile, result: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """The same in pieces whose texts are to be put together: id, transcript, data, and the time at last.

    Every piece of data is base64 by itself, of a length that four divides.
    """
    yield {"id": _new_id()}
    yield {"transcript": _transcript(result)}
    with file.source:
        while block := await asyncio.to_thread(file.source.read, _PIECE):
            yield {"data": base64.b64encode(block).decode()}
    yield {"expires_at": _expiry()}


def _new_id() -> str:
    return f"audio_{secrets.token_hex(12)}"


def _expiry() -> int:
    """Unix time until when a later request may follow the song by its id: none may, its file goes with the answer."""
    return int(time.time())


def _transcript(result: Mapping[str, Any]) -> str:
    """What is sung."""
    lyrics = str(result["metadata"].get("lyrics") or "").strip()
    return "" if musicality.is_instrumental(lyrics) else lyrics
