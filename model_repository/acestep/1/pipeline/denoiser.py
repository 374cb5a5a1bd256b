"""The step loop of one DiT: tracks of many songs, each at its own step, share its calls."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .batcher import pick
from .length import FRAME_BUCKET, LATENT_CHANNELS, TOKEN_BUCKET, padded
from .models import Condition, DitCall, Floats
from .sampler import step_ode

PATCH = 2


@dataclass(eq=False)
class Track:
    """One item on its way from noise to latents.

    `latents` float32 [frames, 64] holds x_t; `context` float32 [frames, 128] is source latents and mask.
    `on_step` is called between steps with the number of steps done; what it raises ends this track alone.
    """

    latents: Floats
    context: Floats
    condition: Condition
    schedule: tuple[float, ...]
    on_step: Callable[[int], None]
    step: int = 0
    finished: "asyncio.Future[Floats]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def tokens(self) -> int:
        """Length of the padded row in DiT tokens."""
        return padded(len(self.latents), FRAME_BUCKET) // PATCH

    def advance(self, velocity: Floats) -> None:
        """One sampler step with the velocity [frames, 64] of this step's t."""
        t = self.schedule[self.step]
        t_next = self.schedule[self.step + 1] if self.step + 1 < len(self.schedule) else 0.0
        self.latents = step_ode(self.latents, velocity, t, t_next)
        self.step += 1


class DitBatch:
    """Arrays of one set of tracks: condition, context and masks are laid out once, latents and t at every step."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self.tracks = list(tracks)
        frames = padded(max(len(track.latents) for track in tracks), FRAME_BUCKET)
        slots = padded(max(len(track.condition.hidden) for track in tracks), TOKEN_BUCKET)
        width = tracks[0].condition.hidden.shape[1]
        rows = len(self.tracks)
        self._latents = np.zeros((rows, frames, LATENT_CHANNELS), np.float32)
        self._timestep = np.zeros((rows, 1), np.float32)
        self._hidden = np.zeros((rows, slots, width), np.float32)
        self._hidden_mask = np.zeros((rows, slots), np.bool_)
        self._context = np.zeros((rows, frames, 2 * LATENT_CHANNELS), np.float32)
        self._latent_mask = np.zeros((rows, frames), np.bool_)
        for row, track in enumerate(self.tracks):
            self._hidden[row, : len(track.condition.hidden)] = track.condition.hidden
            self._hidden_mask[row, : len(track.condition.hidden)] = True
            self._context[row, : len(track.latents)] = track.context
            self._latent_mask[row, : len(track.latents)] = True

    def call(self) -> DitCall:
        """The inputs of the next evaluation."""
        for row, track in enumerate(self.tracks):
            self._latents[row, : len(track.latents)] = track.latents
            self._timestep[row, 0] = track.schedule[track.step]
        return DitCall(
            self._latents, self._timestep, self._hidden, self._hidden_mask, self._context, self._latent_mask)


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
            if batch is None or batch.tracks != chosen:
                batch = DitBatch(chosen)
            try:
                velocity = await self._velocity(batch.call())
            except Exception as error:
                for track in chosen:
                    self._leave(track, error)
                continue
            for row, track in enumerate(chosen):
                track.advance(velocity[row, : len(track.latents)])
                try:
                    track.on_step(track.step)
                except Exception as error:
                    self._leave(track, error)
                    continue
                if track.step == len(track.schedule):
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
