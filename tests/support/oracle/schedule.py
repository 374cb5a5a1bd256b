"""The times a song is sampled at.

Sources: upstream's generate_audio of the turbo and base models; docs/model.md; docs/behaviour.md for what a turbo
snaps to.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from .masks import Floats

TURBO_SHIFTS = (1, 2, 3)


def shifted(steps: int, shift: float) -> list[float]:
    """Times t = s·u / (1 + (s − 1)·u) for u = 1, 1 − 1/N, …, 1/N."""
    times = []
    for step in range(steps):
        u = Fraction(steps - step, steps)
        times.append(float(Fraction(shift) * u / (1 + (Fraction(shift) - 1) * u)))
    return times


def nearest(values: Sequence[float], wanted: float) -> int:
    """Index of the value next to the wanted one, the first of two that are as near."""
    best = 0
    for index, value in enumerate(values):
        if abs(value - wanted) < abs(values[best] - wanted):
            best = index
    return best


def schedule(is_turbo: bool, steps: int, shift: float, own: Sequence[float] | None) -> list[float]:
    """The times of a song, 0 at the end left out.

    A turbo's shift is the nearest of 1, 2, 3, and its own times are the nearest of the twenty of its 8-step tables.
    """
    if own is not None:
        times = [t for t in own if t > 0]
        if not is_turbo:
            return times
        tables = sorted({t for s in TURBO_SHIFTS for t in shifted(8, s)}, reverse=True)
        return [tables[nearest(tables, t)] for t in times]
    return shifted(steps, TURBO_SHIFTS[nearest(TURBO_SHIFTS, shift)] if is_turbo else shift)


def begin(noise: Floats, source: Floats, times: list[float], strength: float) -> tuple[Floats, list[float]]:
    """The first x [T, 64] and the times that are left, when a cover starts near its source (`cover_noise_strength`)."""
    if strength <= 0:
        return noise, times
    index = nearest(times, 1 - strength)
    t = times[index]
    return (t * noise.astype(np.float64) + (1 - t) * source).astype(np.float32), times[index:]


def switch(times: Sequence[float], strength: float) -> int:
    """The step from which a song follows no source any more: the share of the steps that are really made, cut off."""
    return int(len(times) * strength)
