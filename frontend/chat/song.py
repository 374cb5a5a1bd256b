"""The song of one request while it is made, and its files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from frontend.jobs.job import Job, State
from frontend.live import Ended, Event
from frontend.services import Services

from .beats import with_beats
from .errors import failure, gone, stopping, too_late
from .reply import SongFile

BEAT_SECONDS = 2.0


class Song:
    """A job that a request waits for; 504 when it is not made in time."""

    def __init__(self, services: Services, job: Job) -> None:
        self._services = services
        self._job = job
        self._until = asyncio.get_running_loop().time() + services.settings.generation_timeout

    async def made(self) -> Job:
        """The finished job. Errors: RequestError 400, 500, 503, 504."""
        async with aclosing(self.told()) as events:
            async for event in events:
                if isinstance(event, Ended):
                    return event.job
        raise AssertionError("what is told of a song ends with its end")

    async def told(self) -> AsyncGenerator[Event | None, None]:
        """What happens to the song, and None every two seconds; `Ended` last. Errors as `made`."""
        entries = self._services.follow(self._job.id)
        try:
            async with aclosing(with_beats(entries, BEAT_SECONDS, self._until)) as beating:
                async for entry in beating:
                    event = None if entry is None else entry.event
                    if isinstance(event, Ended) and event.job.state is not State.SUCCEEDED:
                        raise failure(event.job)
                    yield event
                    if isinstance(event, Ended):
                        return
        except TimeoutError:
            late = too_late(self._services.settings.generation_timeout)
            await self._services.cancel(self._job.id, late.detail, "expired")
            raise late from None
        raise stopping() if self._services.stopping.is_set() else gone()

    async def files(self, job: Job) -> list[SongFile]:
        """The finished files. Errors: RequestError 500 when one is gone."""
        found = [await self._services.store.find_audio(path) for path in (job.result or {})["audio"]]
        try:
            return [await asyncio.to_thread(self._file, file.file, file.audio_format) for file in found if file]
        except FileNotFoundError:
            raise gone() from None

    def _file(self, name: str, audio_format: str) -> SongFile:
        path = self._services.folders.audio / name
        return SongFile(path, audio_format, path.stat().st_size)
