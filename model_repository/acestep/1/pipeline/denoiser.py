"""The step loop of one DiT: tracks of many songs, each at its own step, share its calls."""

import asyncio
from collections.abc import Awaitable, Callable

from .batcher import pick
from .dit_batch import DitBatch
from .models import DitCall, Floats
from .track import Track


class Denoiser:
    """Runs the tracks of one DiT, oldest first, until none is left; tracks join between steps."""

    def __init__(self, velocity: Callable[[DitCall], Awaitable[Floats]], token_budget: int) -> None:
        self._velocity = velocity
        self._token_budget = token_budget
        self._tracks: list[Track] = []
        self._loop: asyncio.Task[None] | None = None

    async def denoise(self, track: Track) -> Floats:
        """The track's latents at t = 0, float32 [frames, 64]. Errors: what the model or `on_step` raises."""
        self._tracks.append(track)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run())
        try:
            return await track.finished
        finally:
            if track in self._tracks:
                self._tracks.remove(track)

    async def _run(self) -> None:
        batch: DitBatch | None = None
        while self._tracks:
            chosen = pick(self._tracks, self._token_budget)
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
            for track in chosen:
                try:
                    track.on_step(track.step)
                except Exception as error:
                    self._leave(track, error)
                    continue
                if track.is_done:
                    self._leave(track, None)

    def _leave(self, track: Track, error: Exception | None) -> None:
        if track in self._tracks:
            self._tracks.remove(track)
        if track.finished.done():
            return
        if error is None:
            track.finished.set_result(track.latents)
        else:
            track.finished.set_exception(error)
