"""The song of one request while it is made, and its files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

from frontend.jobs.job import AudioFile, Job, State
from frontend.live import Ended, Event
from frontend.services import Services

from .beats import with_beats
from .errors import failure, gone, stopping, too_late
from .files import SongFile

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
            yield await self._ended_late()
            return
        raise stopping() if self._services.stopping.is_set() else gone()

    async def files(self, job: Job) -> list[SongFile]:
        """The finished files. Errors: RequestError 500 when one is gone."""
        found = [await self._services.store.find_audio(path) for path in (job.result or {})["audio"]]
        try:
            return [await asyncio.to_thread(self._open, file) for file in found]
        except FileNotFoundError:
            raise gone() from None

    def _open(self, file: AudioFile | None) -> SongFile:
        if file is None:
            raise FileNotFoundError
        source = (self._services.folders.audio / file.file).open("rb")
        return SongFile(source, file.audio_format, os.fstat(source.fileno()).st_size)

    async def _ended_late(self) -> Ended:
        """The song's end if it came just in time. Errors: RequestError 504 when it is cancelled now, or as `made`."""
        late = too_late(self._services.settings.generation_timeout)
        if await self._services.cancel(self._job.id, late.detail, "expired"):
            raise late
        job = await self._services.store.get(self._job.id)
        if job is None:
            raise gone()
        if job.state is not State.SUCCEEDED:
            raise failure(job)
        return Ended(job)
