"""A job store whose jobs are counted and timed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from frontend.metrics import AUDIO_SECONDS, ENDED, LEASES_LOST, RETURNED, RUN, WAIT, Meter

from .job import AudioFile, Claim, Job, Once, Progress, State, Upload, Work
from .store import JobStore, LeaseLost, Stats, StoreFailed


class MeasuredJobStore(JobStore):
    """`store`, and what happens in it told to `meter`."""

    def __init__(self, store: JobStore, meter: Meter) -> None:
        self._store = store
        self._meter = meter

    async def submit(
        self, work: Work, limit: int, once: Once | None = None, wanted_seconds: float | None = None
    ) -> Job:
        return await self._store.submit(work, limit, once, wanted_seconds)

    async def get(self, job_id: str) -> Job | None:
        return await self._store.get(job_id)

    async def list(
        self, limit: int, *, before: str | None = None, states: Collection[State] | None = None
    ) -> Sequence[Job]:
        return await self._store.list(limit, before=before, states=states)

    async def uploads(self) -> Sequence[Upload]:
        return await self._store.uploads()

    async def claim(self, owner: str, lease_seconds: float) -> Claim | None:
        claim = await self._store.claim(owner, lease_seconds)
        if claim is not None and claim.token == 1 and claim.job.started_at is not None:
            self._meter.add(WAIT, claim.job.started_at - claim.job.created_at)
        return claim

    async def want(self, job_ids: Collection[str], seconds: float) -> None:
        await self._store.want(job_ids, seconds)

    async def reap(self, owner: str) -> Sequence[Job]:
        jobs = await self._store.reap(owner)
        for job in jobs:
            self._meter.add(ENDED, api=job.work.api, outcome=job.error_code or str(job.state))
        return jobs

    async def renew(self, claim: Claim, lease_seconds: float) -> None:
        async with self._fenced():
            await self._store.renew(claim, lease_seconds)

    async def progress(self, claim: Claim, progress: Progress) -> None:
        async with self._fenced():
            await self._store.progress(claim, progress)

    async def finish(self, claim: Claim, result: Mapping[str, Any], files: Sequence[AudioFile]) -> None:
        async with self._fenced():
            await self._store.finish(claim, result, files)
        self._meter.add(AUDIO_SECONDS, (result.get("duration") or 0.0) * len(files))
        await self._ended(claim.job.id)

    async def fail(self, claim: Claim, error: str, code: str) -> None:
        async with self._fenced():
            await self._store.fail(claim, error, code)
        await self._ended(claim.job.id)

    async def cancel(self, job_id: str, error: str, code: str) -> Job | None:
        job = await self._store.cancel(job_id, error, code)
        if job is not None:
            self._meter.add(ENDED, api=job.work.api, outcome=code)
        return job

    async def release(self, claim: Claim, *, delay: float = 0.0, forgive: bool = False) -> None:
        async with self._fenced():
            await self._store.release(claim, delay=delay, forgive=forgive)
        self._meter.add(RETURNED)

    async def release_all(self, owner: str) -> int:
        return await self._store.release_all(owner)

    async def find_audio(self, path: str) -> AudioFile | None:
        return await self._store.find_audio(path)

    async def forget_audio(self, job_id: str) -> Sequence[AudioFile]:
        return await self._store.forget_audio(job_id)

    async def expire(self, before: float, keep: int) -> Sequence[AudioFile]:
        return await self._store.expire(before, keep)

    async def unknown_files(self, names: Collection[str]) -> Collection[str]:
        return await self._store.unknown_files(names)

    async def stats(self, window: int) -> Stats:
        return await self._store.stats(window)

    async def close(self) -> None:
        await self._store.close()

    @asynccontextmanager
    async def _fenced(self) -> AsyncIterator[None]:
        try:
            yield
        except LeaseLost:
            self._meter.add(LEASES_LOST)
            raise

    async def _ended(self, job_id: str) -> None:
        job = None
        with suppress(StoreFailed):  # the job has ended all the same
            job = await self._store.get(job_id)
        if job is None:
            return
        self._meter.add(ENDED, api=job.work.api, outcome=job.error_code or str(job.state))
        if job.state is State.SUCCEEDED and job.started_at is not None and job.finished_at is not None:
            self._meter.add(RUN, job.finished_at - job.started_at)
