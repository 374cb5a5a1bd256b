"""Finished files on their way into JSON, as base64 text."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from frontend.audio.formats import SONG_FORMATS

_BLOCK = 3 << 18  # bytes of a file; as base64 a block ends without padding


@dataclass(frozen=True)
class SongFile:
    """A finished file, open, and the place that its base64 text has in JSON. An open file outlives its deletion."""

    source: BinaryIO
    audio_format: str
    size: int
    mark: str = field(default_factory=secrets.token_urlsafe)

    def part(self) -> dict[str, Any]:
        """The documented audio part."""
        return {"type": "audio_url", "audio_url": {"url": f"{self._head()}{self.mark}"}}

    def grows_by(self) -> int:
        """How much longer than its mark the base64 text is."""
        return (self.size + 2) // 3 * 4 - len(self.mark)

    def _head(self) -> str:
        return f"data:{SONG_FORMATS[self.audio_format].content_type};base64,"


async def spliced(text: str, files: Sequence[SongFile]) -> AsyncIterator[bytes]:
    """`text` with every file's base64 in the place of its mark, in large pieces: no song is ever whole in memory.

    A short text is one piece, for clients that take what they read at a time for an event.
    """
    piece = bytearray()
    for file in files:
        before, _, text = text.partition(file.mark)
        piece += before.encode()
        with file.source:
            while block := await asyncio.to_thread(file.source.read, _BLOCK):
                piece += base64.b64encode(block)
                if len(piece) >= _BLOCK:
                    yield bytes(piece)
                    piece.clear()
    yield bytes(piece) + text.encode()
