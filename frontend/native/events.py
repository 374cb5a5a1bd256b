"""A job's events as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from quart import Response

from frontend.jobs.job import Job, Progress
from frontend.json_line import one_line
from frontend.live import END, Ended, Entry, Queued, Retrying, Started
from frontend.services import Services
from frontend.silence import with_silences
from frontend.songs.events import Metadata, Planning, Step

from .record import progress_shown, record

_KEEP_ALIVE_SECONDS = 10.0


def stream_events(services: Services, job: Job, last_seen: str, *, head_alone: bool = False) -> Response:
    """What happens to `job` after the event with the id `last_seen`; 204, which ends an EventSource, after the last.

    `head_alone`: nothing is followed, since an answer to HEAD would last as long as the song and say nothing.
    """
    if last_seen == END and job.state.is_final:
        return Response(status=204)
    lines = None if head_alone else _lines(services, job, last_seen)
    response = Response(lines, content_type="text/event-stream; charset=utf-8")
    response.headers.update({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
    response.timeout = None  # it lasts as long as the song
    return response


async def _lines(services: Services, job: Job, last_seen: str) -> AsyncGenerator[bytes, None]:
    yield b"retry: 2000\n\n"
    async with aclosing(with_silences(services.follow(job.id, last_seen), _KEEP_ALIVE_SECONDS)) as entries:
        async for entry in entries:
            yield b": still here\n\n" if entry is None else await _event(services, job, entry)


async def _event(services: Services, job: Job, entry: Entry) -> bytes:
    name, data = await _shown(services, job, entry)
    head = f"id: {entry.id}\n" if entry.id else ""
    return f"{head}event: {name}\ndata: {one_line(data)}\n\n".encode()


async def _shown(services: Services, job: Job, entry: Entry) -> tuple[str, dict[str, Any]]:
    """Name and data of an event."""
    match entry.event:
        case Queued(position):
            return "queued", {"queue_position": position}
        case Started(attempt):
            return "running", {"attempt": attempt}
        case Retrying(reason, seconds):
            return "retrying", {"reason": reason, "seconds": seconds}
        case Step(phase, done, total):
            return "progress", progress_shown(job, Progress(phase, done, total))
        case Planning(text):
            return "planning", {"text": text}
        case Metadata(values):
            return "metadata", dict(values)
        case Ended(ended):
            return str(ended.state), record(ended, await services.average_seconds(), services.in_flight())
