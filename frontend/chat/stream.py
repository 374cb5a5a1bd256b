"""A song as server-sent events, in the document's order, with a sign of life every two seconds."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Any

from frontend.errors import RequestError
from frontend.jobs.job import Job
from frontend.json_line import one_line
from frontend.live import Ended, Started
from frontend.songs.events import Metadata, Planning, Step

from . import openai
from .errors import error_body
from .files import SongFile, spliced
from .reply import Completion, audio, describe, notes, shares, usage
from .song import Song

log = logging.getLogger(__name__)
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # for proxies that would collect events
CONTENT_TYPE = "text/event-stream; charset=utf-8"


async def stream(reply: Completion, song: Song) -> AsyncGenerator[bytes, None]:
    """The song's events; an error becomes what `_broken_off` says."""
    for index in range(reply.form.choices):
        yield _event(reply, {"role": "assistant", "content": ""}, index=index)
    try:
        async with aclosing(_song(reply, song)) as events:
            async for event in events:
                yield event
    except Exception as error:
        if not isinstance(error, RequestError):
            log.exception("a stream broke off")
            error = RequestError(500, "Internal server error")
        for event in _broken_off(reply, error):
            yield event
    yield b"data: [DONE]\n\n"


async def _song(reply: Completion, song: Song) -> AsyncGenerator[bytes, None]:
    """Metadata once, if a LM wrote any, signs of life, the audio, the end, and the usage for who has asked for it."""
    planned = shown = False
    async with aclosing(song.told()) as events:
        async for event in events:
            match event:
                case None:
                    # Who puts OpenAI's pieces together would have the dots in his text.
                    yield _event(reply, {} if reply.form.is_openai else {"content": "."})
                case Started():
                    planned = False
                case Planning() | Step(phase="codes"):  # the phase "plan" begins before the LM is known to be there
                    planned = True
                case Metadata(values) if planned and not shown:
                    shown = True
                    for part in _metadata(reply, values):
                        yield part
                case Ended(job):
                    result = job.result or {}
                    if result.get("lm") and not shown:
                        for part in _metadata(reply, result["metadata"]):
                            yield part
                    async with aclosing(_finished(reply, job, await song.files(job))) as parts:
                        async for part in parts:
                            yield part


async def _finished(reply: Completion, job: Job, files: Sequence[SongFile]) -> AsyncGenerator[bytes, None]:
    """All audio, then the finish of every choice; the last event has the notes."""
    result, form = job.result or {}, reply.form
    for index, (some, codes) in enumerate(shares(result, files, form.choices)):
        if form.is_openai:
            async for piece in openai.pieces(some[0], result):
                yield _event(reply, {"audio": piece, **codes}, index=index)
                codes = {}
        else:
            async for part in spliced(_event(reply, audio(some) | codes, index=index).decode(), some):
                yield part
    last = notes(job)
    for index in range(form.choices):
        is_last = index == form.choices - 1 and not form.counts_usage
        yield _event(reply, {}, "stop", index, last if is_last else {})
    if form.counts_usage:
        yield _sent(_chunk(reply, []) | {"usage": usage(result, reply.prompt)} | last)


def _broken_off(reply: Completion, error: RequestError) -> Iterator[bytes]:
    """The end of a stream without a song.

    The document's clients look for a text and the finish reason "error". OpenRouter's find `error` in that last chunk,
    and so do OpenAI's SDKs; others of OpenAI's wait for an event with an error alone.
    """
    if reply.form.is_openai:
        told = {"error": error_body(error.status, error.detail)["error"]}
        choices = [_choice(index, {}, "error") for index in range(reply.form.choices)]
        yield _sent(_chunk(reply, choices) | told)
        if not reply.form.is_openrouter:
            yield _sent(told)
        return
    for index in range(reply.form.choices):
        yield _event(reply, {"content": f"\n\nError: {error.detail}"}, index=index)
    for index in range(reply.form.choices):
        yield _event(reply, {}, "error", index)


def _metadata(reply: Completion, values: Mapping[str, Any]) -> Iterator[bytes]:
    for index in range(reply.form.choices):
        yield _event(reply, {"content": f"\n\n{describe(values)}"}, index=index)


def _event(
    reply: Completion, delta: Mapping[str, Any], finish_reason: str | None = None, index: int = 0,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> bytes:
    """The event of one choice; `more` are keys after the documented ones."""
    # OpenAI's document has a null in every other chunk; OpenRouter's SDK takes no null.
    no_usage = {"usage": None} if reply.form.counts_usage and not reply.form.is_openrouter else {}
    return _sent(_chunk(reply, [_choice(index, delta, finish_reason)]) | no_usage | dict(more))


def _chunk(reply: Completion, choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "id": reply.id, "object": "chat.completion.chunk", "created": reply.created, "model": reply.model,
        "choices": choices,
    }


def _choice(index: int, delta: Mapping[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish_reason}


def _sent(chunk: Mapping[str, Any]) -> bytes:
    return f"data: {one_line(chunk)}\n\n".encode()
