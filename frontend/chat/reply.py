"""What a chat client is told of a finished song: text, audio as data URLs, token counts."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from frontend import musicality
from frontend.audio.encode import CONTENT_TYPES
from frontend.code_text import code_texts

NOT_WRITTEN = "Music generated successfully."  # documented, for songs that no LM had a part in
_METERS = {"2": "2/4", "3": "3/4", "4": "4/4", "6": "6/8"}
_BLOCK = 3 << 18  # bytes of a file; as base64 a block ends without padding


@dataclass(frozen=True)
class Completion:
    """What is the same in every part of an answer."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(8)}")
    created: int = field(default_factory=lambda: int(time.time()))


@dataclass(frozen=True)
class SongFile:
    """A finished file, open, and the place that its data URL has in JSON. An open file outlives its deletion."""

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
        return f"data:{CONTENT_TYPES[self.audio_format]};base64,"


def completion(
    reply: Completion, result: Mapping[str, Any], files: Sequence[SongFile], prompt: str
) -> dict[str, Any]:
    """The documented answer, its audio still to be spliced in; `prompt` is what the client said of the song."""
    message = {"role": "assistant", "content": content(result), **audio(result, files)}
    return {
        "id": reply.id, "object": "chat.completion", "created": reply.created, "model": reply.model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage(result, prompt),
    }


def audio(result: Mapping[str, Any], files: Sequence[SongFile]) -> dict[str, Any]:
    """The part of a message that holds the files; with it the codes of a song that follows some, as upstream has them.

    One song's codes are a text, those of several a list.
    """
    codes = code_texts(result)
    parts: dict[str, Any] = {"audio": [file.part() for file in files]}
    return parts if codes is None else parts | {"audio_codes": codes[0] if len(codes) == 1 else codes}


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


def content(result: Mapping[str, Any]) -> str:
    """The text that goes with a finished song."""
    return describe(result["metadata"]) if result.get("lm") else NOT_WRITTEN


def describe(metadata: Mapping[str, Any]) -> str:
    """Metadata and lyrics in the document's form; what is not known is left out."""
    seconds = metadata.get("duration")
    known = {
        "Caption": metadata.get("caption"), "BPM": metadata.get("bpm"),
        "Duration": None if seconds is None else f"{round(seconds, 2):g}s", "Key": metadata.get("key_scale"),
        "Time Signature": _METERS.get(metadata.get("time_signature") or ""), "Language": metadata.get("vocal_language"),
    }
    text = "\n".join(("## Metadata", *(f"**{name}:** {value}" for name, value in known.items() if value)))
    lyrics = metadata.get("lyrics") or ""
    return text if not lyrics.strip() or musicality.is_instrumental(lyrics) else f"{text}\n\n## Lyrics\n{lyrics}"


def usage(result: Mapping[str, Any], prompt: str) -> dict[str, int]:
    """The LM's tokens; without it the words of the prompt, and nothing was written."""
    lm = result.get("lm")
    asked, written = (lm["prompt_tokens"], lm["completion_tokens"]) if lm else (len(prompt.split()), 0)
    return {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}
