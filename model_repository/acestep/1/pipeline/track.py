"""One item of one song on its way from noise to latents."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np

from .dcw import Dcw
from .guidance import Apg, guide_by_angle, guide_plainly
from .length import FRAME_BUCKET, TOKEN_BUCKET, padded
from .models import Condition, Floats
from .noise import draw_normal
from .repaint import Kept
from .sampler import bound_velocity, smooth_velocity, step_ode, step_sde

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
    """How a song's tracks are sampled: the schedule, ode or sde, guided or not, and what else a step does.

    `is_heun` evaluates the DiT twice in a step. `norm_threshold` and `ema_factor` (0 is off) tame the velocity.
    With `ends_plainly` the last step is one evaluation, and nothing is injected after it (upstream's turbo models).
    """

    schedule: tuple[float, ...]
    method: str = "ode"
    guidance: Guidance | None = None
    is_heun: bool = False
    norm_threshold: float = 0.0
    ema_factor: float = 0.0
    dcw: Dcw | None = None
    ends_plainly: bool = False


@dataclass(frozen=True, eq=False)
class Prediction:
    """The first half of a Heun step: the latents it began with, and the velocity there."""

    latents: Floats
    velocity: Floats


@dataclass(eq=False)
class Track:
    """`latents` float32 [frames, 64] is what the next evaluation sees; the last stage that has begun is followed.

    `kept` is what a repaint puts back of its source; the items of a song have the same `song`. `on_step` is called
    after every evaluation with the number of steps done; what it raises ends this track alone.
    """

    seed: int
    latents: Floats
    stages: tuple[Stage, ...]
    course: Course
    on_step: Callable[[int], None]
    kept: Kept | None = None
    song: Hashable = field(default_factory=object)
    step: int = 0
    finished: "asyncio.Future[Floats]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _apg: Apg | None = None
    _prediction: Prediction | None = None
    _velocity: Floats | None = None  # of the step before

    @property
    def t(self) -> float:
        """Where the next evaluation takes place: the step's begin, or its end when a Heun step is corrected."""
        return self._begin if self._prediction is None else self._end

    @property
    def _begin(self) -> float:
        return self.course.schedule[self.step]

    @property
    def _end(self) -> float:
        schedule = self.course.schedule
        return schedule[self.step + 1] if self.step + 1 < len(schedule) else 0.0

    @property
    def _is_plain_end(self) -> bool:
        return self.course.ends_plainly and self.step + 1 == len(self.course.schedule)

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
        """One evaluation further, with the velocities [rows, frames, 64] at t; heavy ones off the event loop."""
        course = self.course
        extras = course.is_heun or course.norm_threshold or course.ema_factor or course.dcw or self.kept
        if self.latents.size <= _LIGHT and not self.is_guided and course.method == "ode" and not extras:
            self.advance_here(velocities)
        else:
            await asyncio.to_thread(self.advance_here, velocities)

    def advance_here(self, velocities: Floats) -> None:
        """The same, in the caller's thread."""
        if self._prediction is None:
            self._step(velocities)
        else:
            self._correct(self._prediction, velocities)

    def _step(self, velocities: Floats) -> None:
        """The whole step, or with Heun its first half: the latents become those predicted for its end."""
        course, x = self.course, self.latents
        velocity = self._guide(velocities) if self.is_guided else velocities[0]
        velocity = self._tame(velocity, self._velocity)
        if course.method == "sde":
            noise = draw_normal(self.seed, f"sde {self.step}", x.shape)
            self._land(x, velocity, velocity, step_sde(x, velocity, self._begin, self._end, noise))
            return
        after = step_ode(x, velocity, self._begin, self._end)
        if course.is_heun and not self._is_plain_end:
            self._prediction, self.latents = Prediction(x, velocity), after
        else:
            self._land(x, velocity, velocity, after)

    def _correct(self, first: Prediction, velocities: Floats) -> None:
        """The second half of a Heun step: again from its begin, with the mean of both velocities."""
        velocity = self._guide_again(velocities) if self.is_guided else velocities[0]
        velocity = self._tame(velocity, first.velocity)
        mean = np.float32(0.5) * (first.velocity + velocity)
        self._prediction = None
        self._land(first.latents, first.velocity, mean, step_ode(first.latents, mean, self._begin, self._end))

    def _land(self, before: Floats, velocity: Floats, used: Floats, after: Floats) -> None:
        """Ends the step that led from `before` to `after`: corrected, then the kept part of a source put back.

        `velocity` is the one at the step's begin, from which the clean latents follow; `used` is what the next step
        is smoothed with.
        """
        if self.course.dcw is not None:
            t = self._begin
            after = self.course.dcw.correct(after, before - velocity * np.float32(t), t)
        if self.kept is not None and not self._is_plain_end:
            after = self.kept.inject(after, self.step, self._end)
        self.latents, self._velocity = after, used
        self.step += 1
        if self.kept is not None and self.is_done:
            self.latents = self.kept.blend(self.latents)

    def _tame(self, velocity: Floats, previous: Floats | None) -> Floats:
        """The velocity at `latents`, bounded and smoothed."""
        bounded = bound_velocity(self.latents, velocity, self.course.norm_threshold)
        return smooth_velocity(bounded, previous, self.course.ema_factor)

    def _guide(self, velocities: Floats) -> Floats:
        guidance = self.course.guidance
        assert guidance is not None
        if guidance.by_angle:
            return guide_by_angle(self.latents, velocities[0], velocities[1], self.t, guidance.scale)
        # The average lives as long as the track, over the guided steps alone.
        self._apg = self._apg or Apg(guidance.scale)
        return self._apg.guide(velocities[0], velocities[1])

    def _guide_again(self, velocities: Floats) -> Floats:
        """Of a correction: by plain guidance, so that APG's average has one entry a step; an angle needs t > 0."""
        guidance = self.course.guidance
        assert guidance is not None
        if guidance.by_angle and self.t > 0:
            return guide_by_angle(self.latents, velocities[0], velocities[1], self.t, guidance.scale)
        return guide_plainly(velocities[0], velocities[1], guidance.scale)
