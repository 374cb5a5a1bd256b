"""A song as server-sent events, in the document's order, with a sign of life every two seconds."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from frontend.errors import RequestError
from frontend.json_line import one_line
from frontend.live import Ended, Started
from frontend.songs.events import Metadata, Planning, Step

from .reply import Completion, audio, describe, spliced
from .song import Song

log = logging.getLogger(__name__)
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # for proxies that would collect events
CONTENT_TYPE = "text/event-stream; charset=utf-8"


async def stream(reply: Completion, song: Song) -> AsyncGenerator[bytes, None]:
    """The song's events; an error becomes a chunk of text and the finish reason "error"."""
    yield _event(reply, {"role": "assistant", "content": ""})
    try:
        async with aclosing(_song(reply, song)) as events:
            async for event in events:
                yield event
    except Exception as error:
        if not isinstance(error, RequestError):
            log.exception("a stream broke off")
        text = error.detail if isinstance(error, RequestError) else "Internal server error"
        yield _event(reply, {"content": f"\n\nError: {text}"})
        yield _event(reply, {}, "error")
    yield b"data: [DONE]\n\n"


async def _song(reply: Completion, song: Song) -> AsyncGenerator[bytes, None]:
    """Metadata once, if a LM wrote any, signs of life, all audio in one event, the end."""
    planned = shown = False
    async with aclosing(song.told()) as events:
        async for event in events:
            match event:
                case None:
                    yield _event(reply, {"content": "."})
                case Started():
                    planned = False
                case Planning() | Step(phase="codes"):  # the phase "plan" begins before the LM is known to be there
                    planned = True
                case Metadata(values) if planned and not shown:
                    shown = True
                    yield _metadata(reply, values)
                case Ended(job):
                    result = job.result or {}
                    if result.get("lm") and not shown:
                        yield _metadata(reply, result["metadata"])
                    files = await song.files(job)
                    async for part in spliced(_event(reply, audio(result, files)).decode(), files):
                        yield part
                    yield _event(reply, {}, "stop")


def _metadata(reply: Completion, values: Mapping[str, Any]) -> bytes:
    return _event(reply, {"content": f"\n\n{describe(values)}"})


def _event(reply: Completion, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
    chunk = {
        "id": reply.id, "object": "chat.completion.chunk", "created": reply.created, "model": reply.model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }
    return f"data: {one_line(chunk)}\n\n".encode()
