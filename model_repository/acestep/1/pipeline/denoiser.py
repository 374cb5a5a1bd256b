"""The step loop of one DiT: tracks of many songs, each at its own step, share its calls."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from .accounts import Accounts, split_cost
from .batcher import pick
from .dit_batch import DitBatch
from .models import DitCall, Floats
from .track import Track


class Denoiser:
    """Runs the tracks of one DiT, the least served song's first, until none is left; tracks join between steps.

    `accounts` say whose turn it is, `clock` measures the service, in seconds.
    """

    def __init__(
        self, velocity: Callable[[DitCall], Awaitable[Floats]], token_budget: int, accounts: Accounts | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._velocity = velocity
        self._token_budget = token_budget
        self._accounts = accounts or Accounts()
        self._clock = clock
        self._tracks: list[Track] = []
        self._loop: asyncio.Task[None] | None = None

    async def denoise(self, track: Track) -> Floats:
        """The track's latents at t = 0, float32 [frames, 64]. Errors: what the model or `on_step` raises."""
        self._tracks.append(track)
        self._accounts.open(track.song)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run())
        try:
            return await track.finished
        finally:
            self._remove(track)

    async def _run(self) -> None:
        batch: DitBatch | None = None
        while self._tracks:
            chosen = pick(self._accounts.in_turn(self._tracks), self._token_budget)
            shares, begin = split_cost(chosen, 1.0), self._clock()
            try:
                if batch is None or not batch.is_for(chosen):
                    # Megabytes to lay out: not on the loop that all songs share.
                    batch = await asyncio.to_thread(DitBatch, chosen)
                velocity = await self._velocity(batch.call())
                await asyncio.gather(*(track.advance(rows) for track, rows in batch.split(velocity)))
            except Exception as error:
                # Whatever it was, these tracks must hear of it: nobody else would ever wake who waits for them.
                batch = None
                for track in chosen:
                    self._leave(track, error)
                continue
            # Only now, so that the account of a song that came during the call begins where this call's songs began.
            taken = self._clock() - begin
            self._accounts.charge({song: taken * share for song, share in shares.items()})
            for track in chosen:
                try:
                    track.on_step(track.step)
                except Exception as error:
                    self._leave(track, error)
                    continue
                if track.is_done:
                    self._leave(track, None)

    def _leave(self, track: Track, error: Exception | None) -> None:
        self._remove(track)
        if track.finished.done():
            return
        if error is None:
            track.finished.set_result(track.latents)
        else:
            track.finished.set_exception(error)

    def _remove(self, track: Track) -> None:
        if track in self._tracks:
            self._tracks.remove(track)
            if all(other.song != track.song for other in self._tracks):
                self._accounts.close(track.song)
