"""Timestep schedules: the decreasing t values a sampler walks through (docs/model.md, Schedules)."""

from collections.abc import Sequence
from itertools import pairwise

from .errors import invalid

TURBO_SHIFTS = (1.0, 2.0, 3.0)
TURBO_STEPS = 8
TURBO_CUSTOM_LIMIT = 20


def shifted(steps: int, shift: float) -> tuple[float, ...]:
    """t_i = s·u / (1 + (s−1)·u) with u = 1 − i/N, for i < N; t = 0 is implied."""
    grid = [1.0 - i / steps for i in range(steps)]
    return tuple(shift * u / (1.0 + (shift - 1.0) * u) for u in grid)


# The values the turbo models were distilled at: the 8-step tables of the three shifts.
TURBO_VALUES = tuple(sorted({t for s in TURBO_SHIFTS for t in shifted(TURBO_STEPS, s)}, reverse=True))


def turbo_schedule(steps: int, shift: float) -> tuple[float, ...]:
    """The schedule of a turbo model; the shift snaps to the nearest of 1, 2, 3 (the lower one when between)."""
    return shifted(steps, min(TURBO_SHIFTS, key=lambda s: abs(s - shift)))


def custom_schedule(timesteps: Sequence[float], is_turbo: bool) -> tuple[float, ...]:
    """The caller's own schedule: verbatim on base models, snapped to the distilled values on turbo.

    Errors: 400 unless decreasing in (0, 1] with at most one trailing 0, and at most 20 values on turbo.
    """
    steps = tuple(timesteps[:-1]) if timesteps and timesteps[-1] == 0 else tuple(timesteps)
    if not steps or any(not 0.0 < t <= 1.0 for t in steps):
        raise invalid("timesteps", "must lie in (0, 1], with one trailing 0 at most")
    if any(later >= earlier for earlier, later in pairwise(steps)):
        raise invalid("timesteps", "must decrease")
    if not is_turbo:
        return steps
    if len(steps) > TURBO_CUSTOM_LIMIT:
        raise invalid("timesteps", f"must have at most {TURBO_CUSTOM_LIMIT} values on a turbo model")
    return tuple(min(TURBO_VALUES, key=lambda v: abs(v - t)) for t in steps)
