"""How a repaint or a lego keeps what is outside its region: in the steps, in the latents, in the audio.

Sources: upstream's repaint_step_injection.py, repaint_waveform_splice.py, generate_music.py (modes).
"""

from dataclasses import dataclass

import numpy as np

from .masks import RATE, Canvas, Floats
from .sampler import Doubles


@dataclass(frozen=True)
class Keeping:
    """`share` of the steps are held to the source; latents are blended over `frames`, audio over `seconds`."""

    share: float
    frames: int
    seconds: float
    splices: bool


def keeping(mode: str, strength: float) -> Keeping:
    """What a repaint mode means; the strength counts in the balanced one alone."""
    if mode == "aggressive":
        return Keeping(0.0, 0, 0.0, False)
    if mode == "conservative":
        return Keeping(1.0, 25, 0.05, True)
    return Keeping(1 - strength, round(25 * (1 - strength)), 0.05 * (1 - strength), True)


def is_held(step: int, steps: int, share: float, is_turbo: bool) -> bool:
    """Whether the source is put back after this step; a turbo leaves its loop in the last one before it would be."""
    return step < round(share * steps) and not (is_turbo and step == steps - 1)


def hold(x: Doubles, t_next: float, noise: Floats, clean: Floats, where: Canvas) -> Doubles:
    """x with the source, noised to t_next by the song's first noise, outside the region."""
    kept = x.copy()
    for frame in range(len(x)):
        if not where.first <= frame < where.last:
            kept[frame] = t_next * noise[frame].astype(np.float64) + (1 - t_next) * clean[frame].astype(np.float64)
    return kept


def ramp(length: int, first: int, last: int, width: int) -> Doubles:
    """Weights [length]: 1 in [first, last), and straight ramps of `width` values outside, cut at the ends.

    A ramp of n values goes 1/(n+1), …, n/(n+1); one that an end cuts short is a whole ramp of the n that are left.
    """
    weights = np.zeros(length)
    weights[first:last] = 1
    left, right = min(width, first), min(width, length - last)
    for i in range(left):
        weights[first - left + i] = (i + 1) / (left + 1)
    for i in range(right):
        weights[last + i] = (right - i) / (right + 1)
    return weights


def blend(x: Doubles, clean: Floats, where: Canvas, width: int) -> Doubles:
    """Finished latents, blended into the source's at the region's borders and replaced by them beyond."""
    if width <= 0:
        return x
    weights = ramp(len(x), where.first, where.last, width)[:, None]
    return weights * x + (1 - weights) * clean


def splice(audio: Floats, source: Floats, begin: int, end: int, seconds: float) -> Doubles:
    """Audio [2, n] with the source's own outside the region of samples; as it is when the region is all of it."""
    length = audio.shape[1]
    end = min(end, length)
    if begin <= 0 and end >= length:
        return audio.astype(np.float64)
    weights = ramp(length, begin, end, int(seconds * RATE))
    return weights * audio + (1 - weights) * source[:, :length]
