"""A claim as long as it holds: kept alive, and written to in spite of a store that fails now and then."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from .jobs.job import Claim, Progress
from .jobs.store import JobStore, LeaseLost, StoreFailed

log = logging.getLogger(__name__)
_PAUSE = 0.5


class Lease:
    """One claim that was just made, for `seconds` at a time.

    What fails with StoreFailed is tried again until the lease has run out, then it is LeaseLost: by then the job may be
    another worker's.
    """

    def __init__(self, store: JobStore, claim: Claim, seconds: float) -> None:
        self._store = store
        self._claim = claim
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    async def keep(self) -> None:
        """Renews the lease until this is cancelled. Errors: LeaseLost."""
        while True:
            await asyncio.sleep(self._seconds / 3)
            await self.write(self._renew)

    async def write(self, change: Callable[[], Awaitable[None]]) -> None:
        """Makes a change that needs the claim. Errors: LeaseLost."""
        pause = min(_PAUSE, self._seconds / 20)
        while True:
            try:
                await change()
                return
            except StoreFailed as error:
                log.warning("job %s: the job store failed (%s); trying again", self._claim.job.id, error)
                if time.monotonic() + pause >= self._end:
                    raise LeaseLost from error
            await asyncio.sleep(pause)

    async def note(self, progress: Progress) -> None:
        """Records the progress, unless the store fails: the next will tell more. Errors: LeaseLost."""
        try:
            await self._store.progress(self._claim, progress)
        except StoreFailed as error:
            log.warning("job %s: its progress was not recorded (%s)", self._claim.job.id, error)

    async def _renew(self) -> None:
        begun = time.monotonic()
        await self._store.renew(self._claim, self._seconds)
        self._end = begun + self._seconds
