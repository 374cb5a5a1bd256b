"""One item of one song on its way from noise to latents."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from .guidance import Apg, guide_by_angle
from .length import FRAME_BUCKET, TOKEN_BUCKET, padded
from .models import Condition, Floats
from .noise import draw_normal
from .sampler import step_ode, step_sde

PATCH = 2
# Up to this many latent values a plain step stays on the event loop: under a millisecond.
_LIGHT = 4_000 * 64


@dataclass(frozen=True, eq=False)
class Stage:
    """What a track follows from step `begin` on: a condition, and context latents float32 [frames, 128]."""

    begin: int
    condition: Condition
    context: Floats


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance of a base model: on while start <= t <= end, by APG or by angle.

    `null_condition` float32 [H] fills the condition slots of the unconditional row.
    """

    scale: float
    start: float
    end: float
    by_angle: bool
    null_condition: Floats

    def is_on(self, t: float) -> bool:
        """As upstream, which tests t itself; diffusers tests 1 − t."""
        return self.start <= t <= self.end


@dataclass(frozen=True)
class Course:
    """How a song's tracks are sampled: the schedule, ode or sde, guided or not."""

    schedule: tuple[float, ...]
    method: str = "ode"
    guidance: Guidance | None = None


@dataclass(eq=False)
class Track:
    """`latents` float32 [frames, 64] holds x_t; the last stage whose `begin` is reached is followed.

    `on_step` is called between steps with the number of steps done; what it raises ends this track alone.
    """

    seed: int
    latents: Floats
    stages: tuple[Stage, ...]
    course: Course
    on_step: Callable[[int], None]
    step: int = 0
    finished: "asyncio.Future[Floats]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _apg: Apg | None = None

    @property
    def t(self) -> float:
        return self.course.schedule[self.step]

    @property
    def stage(self) -> Stage:
        return next(stage for stage in reversed(self.stages) if stage.begin <= self.step)

    @property
    def is_guided(self) -> bool:
        return self.course.guidance is not None and self.course.guidance.is_on(self.t)

    @property
    def rows(self) -> int:
        """Rows of the next call: the conditional one, and the unconditional one when guided."""
        return 2 if self.is_guided else 1

    @property
    def tokens(self) -> int:
        """Length of a padded row in DiT tokens."""
        return padded(len(self.latents), FRAME_BUCKET) // PATCH

    @property
    def slots(self) -> int:
        """Length of the condition's padded row."""
        return padded(len(self.stage.condition.hidden), TOKEN_BUCKET)

    @property
    def is_done(self) -> bool:
        return self.step == len(self.course.schedule)

    async def advance(self, velocities: Floats) -> None:
        """One sampler step with the velocities [rows, frames, 64] of this step's t; heavy ones off the event loop."""
        if self.latents.size <= _LIGHT and not self.is_guided and self.course.method == "ode":
            self.advance_here(velocities)
        else:
            await asyncio.to_thread(self.advance_here, velocities)

    def advance_here(self, velocities: Floats) -> None:
        """The same step, in the caller's thread."""
        t, schedule = self.t, self.course.schedule
        t_next = schedule[self.step + 1] if self.step + 1 < len(schedule) else 0.0
        velocity = self._guide(velocities, t) if self.is_guided else velocities[0]
        if self.course.method == "sde":
            noise = draw_normal(self.seed, f"sde {self.step}", self.latents.shape)
            self.latents = step_sde(self.latents, velocity, t, t_next, noise)
        else:
            self.latents = step_ode(self.latents, velocity, t, t_next)
        self.step += 1

    def _guide(self, velocities: Floats, t: float) -> Floats:
        guidance = self.course.guidance
        assert guidance is not None
        if guidance.by_angle:
            return guide_by_angle(self.latents, velocities[0], velocities[1], t, guidance.scale)
        # The average lives as long as the track, over the guided steps alone.
        self._apg = self._apg or Apg(guidance.scale)
        return self._apg.guide(velocities[0], velocities[1])
