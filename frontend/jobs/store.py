"""What the rest of the frontend needs of a job store; tests/test_job_store.py is the contract every store passes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .job import AudioFile, Claim, Job, Once, Progress, State, Upload, Work


class QueueFull(Exception):
    """As many jobs wait as may wait."""


class KeyReused(Exception):
    """The key belongs to another submission."""


class StoreError(Exception):
    """The store cannot be opened; one line says why."""


class StoreFailed(Exception):
    """The store did not do what it was asked (a locked file, a full or failing disk); it may when asked again."""


class LeaseLost(Exception):
    """The claim no longer holds: its lease ran out and the job was given to another worker, or was ended."""


@dataclass(frozen=True)
class Stats:
    """Jobs that wait and run, and the mean run time of recent jobs in seconds (None before the first has finished).

    The mean is of jobs that make a song, and were not cancelled: the others are short. `oldest` is when the first of
    those that wait was submitted, in Unix seconds.
    """

    queued: int
    running: int
    average_seconds: float | None
    oldest: float | None = None


class JobStore(Protocol):
    """Jobs that survive the process.

    Every write with a claim raises LeaseLost when the claim no longer holds. Everything raises StoreFailed when the
    store itself fails; then nothing has changed.
    """

    async def submit(
        self, work: Work, limit: int, once: Once | None = None, wanted_seconds: float | None = None
    ) -> Job:
        """Queue a new job, unless `limit` jobs wait already (QueueFull); atomic.

        With a key that a job has, that job is the answer, whatever its state (KeyReused if its digest is another).
        A job with `wanted_seconds` is for somebody who waits for it: it ends unless `want` says in time that he still
        does.
        """

    async def get(self, job_id: str) -> Job | None:
        """The job with its place in the queue."""

    async def list(
        self, limit: int, *, before: str | None = None, states: Collection[State] | None = None
    ) -> Sequence[Job]:
        """The newest jobs, newest first: those submitted before the job `before`, and in one of `states`."""

    async def uploads(self) -> Sequence[Upload]:
        """What jobs that wait or run still need."""

    async def claim(self, owner: str, lease_seconds: float) -> Claim | None:
        """The oldest job that may run now, leased: a queued one whose delay is over, or one whose lease ran out."""

    async def want(self, job_ids: Collection[str], seconds: float) -> None:
        """These jobs are waited for, for another `seconds` from now at least."""

    async def reap(self, owner: str) -> Sequence[Job]:
        """Fail what will never be claimed: unwanted jobs, and those whose lease ran out on their last attempt.

        Not those that `owner` has claimed: it asks, so it lives and may still make them. Returns the failed jobs.
        """

    async def renew(self, claim: Claim, lease_seconds: float) -> None:
        """Hold the job for another `lease_seconds` from now."""

    async def progress(self, claim: Claim, progress: Progress) -> None:
        """Record where the job is."""

    async def finish(self, claim: Claim, result: Mapping[str, Any], files: Sequence[AudioFile]) -> None:
        """Succeed with a result; the files become known to `find_audio` in the same transaction."""

    async def fail(self, claim: Claim, error: str, code: str) -> None:
        """Fail with one line of text and a short code."""

    async def cancel(self, job_id: str, error: str, code: str) -> Job | None:
        """End a job that waits or runs: it fails, and its worker's claim no longer holds.

        Returns the job as it is then; None when there is no such job, or it had ended already.
        """

    async def release(self, claim: Claim, *, delay: float = 0.0, forgive: bool = False) -> None:
        """Give the job back to its place in the queue, for no earlier than `delay` seconds from now.

        `forgive`: the attempt does not count.
        """

    async def release_all(self, owner: str) -> int:
        """Give back everything that `owner` has claimed, uncounted; returns how many jobs that were."""

    async def find_audio(self, path: str) -> AudioFile | None:
        """The file whose public path is exactly `path`."""

    async def forget_audio(self, job_id: str) -> Sequence[AudioFile]:
        """Forget a job's files, and return them."""

    async def expire(self, before: float, keep: int) -> Sequence[AudioFile]:
        """Forget jobs that ended before `before` (Unix seconds), and all ended ones but the last `keep`.

        Returns their files, which nobody knows any more.
        """

    async def unknown_files(self, names: Collection[str]) -> Collection[str]:
        """Those of `names` in the audio folder that belong to no job."""

    async def stats(self, window: int) -> Stats:
        """Counts, and the mean run time of the last `window` finished jobs."""

    async def close(self) -> None:
        """Release what the store holds; idempotent."""
