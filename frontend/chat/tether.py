"""Jobs that end with the request that asked for them."""

from __future__ import annotations

import asyncio

from frontend.jobs.job import Job, Work
from frontend.services import Services
from frontend.uploads import Intake


class Tether:
    """Submits jobs and lets them go when their request is over: cancels those that are not made, its client has left.

    The reaper knows of them meanwhile, so that they end as well when this process dies. Files go once they were sent: a
    chat client has no way to ask for them again.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._leaving: set[asyncio.Task[None]] = set()

    async def submit(self, work: Work, intake: Intake) -> Job:
        """`Services.submit` for the request that the current task answers."""
        answering = asyncio.current_task()
        assert answering is not None
        # A client may leave while its job is stored, and a job that nobody knows could not be cancelled.
        submitting = asyncio.create_task(self._hold(work, intake))
        answering.add_done_callback(lambda _: self._leave(submitting))
        return await asyncio.shield(submitting)

    async def settle(self) -> None:
        """Wait until every job of a request that is over has ended."""
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _hold(self, work: Work, intake: Intake) -> Job:
        job = await self._services.submit(work, intake, wanted_seconds=self._services.settings.lease_seconds)
        self._services.reaper.hold(job.id)
        return job

    def _leave(self, submitting: asyncio.Task[Job]) -> None:
        leaving = asyncio.create_task(self._let_go(submitting))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _let_go(self, submitting: asyncio.Task[Job]) -> None:
        await asyncio.wait((submitting,))
        if not submitting.cancelled() and submitting.exception() is None:
            job_id = submitting.result().id
            self._services.reaper.let_go(job_id)
            if not await self._services.cancel(job_id, "The client left"):
                await self._services.forget_audio(job_id)
