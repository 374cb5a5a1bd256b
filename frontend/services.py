"""What both HTTP APIs stand on: the job store, the pipeline's client, its catalogue, and the workers."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from .audio.keep import abandoned, delete
from .audio.spool import sweep
from .catalogue import ENGINES, SHARED_TRITON_MODELS, Catalogue, engines_of
from .defaults import chosen
from .errors import RequestError
from .jobs.job import Job, Once, Work
from .jobs.measured import MeasuredJobStore
from .jobs.sqlite import SqliteJobStore
from .jobs.store import JobStore, KeyReused, QueueFull, StoreFailed
from .live import END, Ended, Entry, Live, Queued
from .metrics import Meter
from .reaper import Reaper
from .settings import Settings
from .songs.client import SongClient
from .songs.errors import SongError
from .uploads import Intake, Uploads
from .worker import Folders, Workers

log = logging.getLogger(__name__)
_RETRY_SECONDS = 0.5
_REFRESH_SECONDS = 5.0
_SWEEP_SECONDS = 3600.0
_LOOK_SECONDS = 1.0
LmState: TypeAlias = Literal["ready", "loading", "none"]


@dataclass(frozen=True)
class Readiness:
    """`missing`: Triton models that every song needs and that are not ready. `lm`: the state of what only some need."""

    missing: tuple[str, ...]
    lm: LmState | None


class Services:
    """An async context: entering opens the store and starts to look for the pipeline, leaving gives all jobs back."""

    store: JobStore
    workers: Workers
    reaper: Reaper

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.defaults = chosen(settings.upstream_defaults)
        self.songs = SongClient(settings.triton_url)
        self.folders = Folders(spool=settings.state / "spool", audio=settings.state / "audio")
        self.uploads = Uploads(settings.state / "uploads")
        self.live = Live()
        self.meter = Meter()
        self.catalogue: Catalogue | None = None
        self.engines_seen: frozenset[str] = frozenset()
        self.stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        for folder in (self.folders.spool, self.folders.audio):
            folder.mkdir(parents=True, exist_ok=True)
        self.uploads.open()
        store = await SqliteJobStore.open(self.settings.state / "jobs.sqlite")
        self.store = MeasuredJobStore(store, self.meter)
        self.workers = Workers(
            self.store, self.songs, self.uploads, self.folders, self.live, self.settings.lease_seconds)
        self.reaper = Reaper(self.store, self.workers.owner, self.settings.lease_seconds)
        await self._sweep()
        self._tasks = [
            asyncio.create_task(self._keep_catalogue(), name="catalogue"),
            asyncio.create_task(self._keep_swept(), name="sweep"),
            asyncio.create_task(self._keep_reaped(), name="reap"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.workers.stop()
        self.uploads.close()
        await self.store.close()
        await self.songs.close()

    def require_catalogue(self) -> Catalogue:
        """The catalogue; 503 until the models have been ready once."""
        if self.catalogue is None:
            raise RequestError(503, "Models are not ready yet", {"Retry-After": "5"})
        return self.catalogue

    def require_lm(self, engine: str | None) -> None:
        """503 until this engine of the LM has been ready once: who would wait for it with an open connection may go."""
        if engine not in self.engines_seen:
            raise RequestError(503, "The 5 Hz LM is not ready yet", {"Retry-After": "15"})

    async def submit(
        self, work: Work, intake: Intake, once: Once | None = None, wanted_seconds: float | None = None
    ) -> Job:
        """Queue a job, keep its uploads and wake a worker; 429 when the queue is full, 409 for a key used otherwise.

        What was submitted with the same key before is the job of then. A job with `wanted_seconds` ends when nobody
        has said in that time that he waits for it (`Reaper.hold`).
        """
        await intake.save(work.uploads.values())
        try:
            job = await self.store.submit(work, self.settings.queue_maxsize, once, wanted_seconds)
        except QueueFull:
            intake.drop()
            raise await self._busy() from None
        except KeyReused:
            intake.drop()
            raise RequestError(409, "Idempotency-Key: was used with another request") from None
        except Exception:
            intake.drop()
            raise
        if job.work.uploads != work.uploads:  # an earlier job, with files of its own
            intake.drop()
        self.workers.wake()
        return job

    async def require_room(self) -> None:
        """429 when the queue is full already, so that no body is read for nothing; `submit` has the last word."""
        if (await self.store.stats(self.settings.avg_window)).queued >= self.settings.queue_maxsize:
            raise await self._busy()

    async def _busy(self) -> RequestError:
        seconds = str(max(1, math.ceil(await self.average_seconds())))
        return RequestError(429, "Server busy: queue is full", {"Retry-After": seconds})

    async def cancel(self, job_id: str, error: str = "Cancelled", code: str = "cancelled") -> bool:
        """End a job that waits or runs: it has failed at once, and its song ends within one step.

        False: there is no such job, or it had ended already.
        """
        job = await self.store.cancel(job_id, error, code)
        if job is None:
            return False
        await self._let_go(job)
        return True

    async def forget_audio(self, job_id: str) -> None:
        """Delete the files of a job that nobody will ask for."""
        files = await self.store.forget_audio(job_id)
        await asyncio.to_thread(delete, self.folders.audio, [file.file for file in files])

    async def _let_go(self, job: Job) -> None:
        """The job was ended from outside of its worker."""
        self.workers.drop(job.id)
        self.live.end(job.id)
        await self.uploads.discard(job.work.uploads.values())

    async def follow(self, job_id: str, after: str = "") -> AsyncGenerator[Entry, None]:
        """What happens to a job from now on, and what is still known of before; `Ended` last.

        `after` is the id of the last entry that the follower has seen. A job that is not there ends the iteration, and
        so does `stopping`.
        """
        with self.live.listen(job_id, after) as listener:
            position = 0  # the one that was told last, of a job that waits since then
            while not self.stopping.is_set():
                try:
                    job = await self.store.get(job_id)
                except StoreFailed as error:
                    log.warning("job %s: the job store failed (%s); looking again", job_id, error)
                    await asyncio.sleep(_LOOK_SECONDS)
                    continue
                if job is None:
                    return
                news = listener.take()
                for entry in news:
                    yield entry
                if job.state.is_final:
                    yield Entry(END, Ended(job))
                    return
                if news:  # may be newer than the job that was read
                    position = 0
                elif job.position != position:
                    position = job.position
                    if position:
                        yield Entry("", Queued(position))
                while not self.stopping.is_set() and (news := await listener.more(_LOOK_SECONDS)):
                    position = 0
                    for entry in news:
                        yield entry

    async def average_seconds(self) -> float:
        """Mean run time of recent jobs; the configured guess before the first."""
        stats = await self.store.stats(self.settings.avg_window)
        return self.settings.avg_job_seconds if stats.average_seconds is None else stats.average_seconds

    def in_flight(self) -> int:
        """How many songs run at a time here: as many as the pipeline takes, or fewer if the settings say so."""
        capacity = 1 if self.catalogue is None else max(1, self.catalogue.capacity)
        limit = self.settings.queue_workers
        return capacity if limit is None else min(limit, capacity)

    async def readiness(self) -> Readiness:
        """What Triton has ready now; the LM's state is not known while the pipeline is away."""
        try:
            catalogue = await self._describe()
        except SongError:
            missing = await self.songs.models_missing(SHARED_TRITON_MODELS) or ["acestep"]
            return Readiness(tuple(missing), None)
        needed, of_lm = catalogue.triton_models(), () if catalogue.lm is None else catalogue.lm.triton_models()
        missing = await self.songs.models_missing((*needed, *of_lm))
        if self.catalogue is not None:
            self._follow_catalogue(catalogue)
        self._see_lm(catalogue, missing)  # who is told that it is ready may ask for it at once
        lm: LmState = "none" if not of_lm else "loading" if set(missing) & set(of_lm) else "ready"
        return Readiness(tuple(name for name in missing if name not in of_lm), lm)

    async def _describe(self) -> Catalogue:
        return Catalogue.from_describe(await self.songs.describe(), engines_of(self.settings.lm_backend))

    async def _sweep(self) -> None:
        """Forget jobs that are old; delete their files, and what killed processes and lost jobs have left on disk."""
        before = time.time() - self.settings.keep_days * 86_400
        files = await self.store.expire(before, self.settings.keep_count)
        await asyncio.to_thread(delete, self.folders.audio, [file.file for file in files])
        old = await asyncio.to_thread(abandoned, self.folders.audio)
        await asyncio.to_thread(delete, self.folders.audio, await self.store.unknown_files(old))
        await asyncio.to_thread(sweep, self.folders.spool)
        await self.uploads.sweep(self.store.uploads)

    async def _keep_swept(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                await self._sweep()
            except Exception:
                log.exception("the state folder could not be swept")

    async def _keep_reaped(self) -> None:
        """End what no worker will take: jobs that nobody waits for any more, and those that lost every worker."""
        while True:
            try:
                for job in await self.reaper.reap():
                    log.warning("job %s: %s", job.id, job.error)
                    await self._let_go(job)
            except Exception:
                log.exception("jobs could not be reaped")
            await asyncio.sleep(self.reaper.rest)

    async def _keep_catalogue(self) -> None:
        """Ask until every model is ready for the first time, then follow what the pipeline says of itself."""
        while True:
            try:
                catalogue = await self._describe()
                if self.catalogue is not None or not await self.songs.models_missing(catalogue.triton_models()):
                    self._follow_catalogue(catalogue)
                await self._look_for_lm(catalogue)
            except SongError:
                pass  # away, or not there yet
            except Exception:
                log.exception("the pipeline's description could not be read")
            await asyncio.sleep(self._rest())

    def _follow_catalogue(self, catalogue: Catalogue) -> None:
        """Serve these models from now on: Triton may have come back with others, or with another capacity."""
        if catalogue == self.catalogue:
            return
        if self.catalogue is not None and self.catalogue.lm != catalogue.lm:
            self.engines_seen = frozenset()  # they ran another LM
        self.catalogue = catalogue
        self.workers.start(self.in_flight(), catalogue)
        log.info("models: %s; %d at a time", ", ".join(model.name for model in catalogue.models), self.in_flight())

    async def _look_for_lm(self, catalogue: Catalogue) -> None:
        if unseen := [ENGINES[engine] for engine in catalogue.engines if engine not in self.engines_seen]:
            self._see_lm(catalogue, await self.songs.models_missing(unseen))

    def _see_lm(self, catalogue: Catalogue, missing: Collection[str]) -> None:
        self.engines_seen |= {engine for engine in catalogue.engines if ENGINES[engine] not in missing}

    def _rest(self) -> float:
        """Seconds until the pipeline is asked again."""
        if self.catalogue is None:
            return _RETRY_SECONDS
        return _REFRESH_SECONDS if self.engines_seen.issuperset(self.catalogue.engines) else _LOOK_SECONDS
