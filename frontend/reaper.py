"""Ends jobs that will never be made: those that nobody waits for any more, and those that lost every worker."""

from __future__ import annotations

from collections.abc import Sequence

from .jobs.job import Job
from .jobs.store import JobStore


class Reaper:
    """Of the jobs that this process makes or waits for none is reaped, however late the process is with saying so."""

    def __init__(self, store: JobStore, owner: str, seconds: float) -> None:
        self._store = store
        self._owner = owner
        self._seconds = seconds
        self._held: set[str] = set()

    @property
    def rest(self) -> float:
        """Seconds between two rounds, of which there must be a few in the time that the store believes a `hold`."""
        return self._seconds / 3

    def hold(self, job_id: str) -> None:
        """Somebody waits for the job, until `let_go`."""
        self._held.add(job_id)

    def let_go(self, job_id: str) -> None:
        """Nobody waits for the job any more."""
        self._held.discard(job_id)

    async def reap(self) -> Sequence[Job]:
        """The jobs that have ended now."""
        if self._held:
            await self._store.want(self._held, self._seconds)
        return await self._store.reap(self._owner)
