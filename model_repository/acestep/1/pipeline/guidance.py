"""Classifier-free guidance of base models (docs/model.md, Guidance): two velocities become one.

All arrays are one track's own valid frames, float32 [T, 64]; padding of a shared call must be cut off before, because
both methods look at a whole column or row.
"""

from dataclasses import dataclass

import numpy as np

from .models import Floats

# Constants of the reference's base models: momentum and norm bound of APG, angle bound of ADG.
APG_MOMENTUM = -0.75
APG_NORM = 2.5
ADG_ANGLE = 3.14 / 6
_TINY = 1e-12


@dataclass
class Apg:
    """Adaptive projected guidance (Sadat et al., 2024, arXiv 2410.02416) along the time axis.

    The difference of the velocities runs through a momentum average, is bounded per channel, and only its part
    perpendicular to the conditional velocity is used: v = v_c + (scale − 1)·d⊥. One instance for each track: the
    average spans the guided steps of one song.
    """

    scale: float
    average: Floats | None = None

    def guide(self, cond: Floats, null: Floats) -> Floats:
        """The guided velocity [T, 64] of this step."""
        difference = cond - null
        if self.average is not None:
            difference = difference + np.float32(APG_MOMENTUM) * self.average
        self.average = difference
        norm = np.linalg.norm(difference, axis=0, keepdims=True)
        bounded = difference * np.minimum(np.float32(1), np.float32(APG_NORM) / np.maximum(norm, np.float32(_TINY)))
        # In double, as the reference does: the projection subtracts nearly equal numbers.
        d, c = bounded.astype(np.float64), cond.astype(np.float64)
        c /= np.maximum(np.linalg.norm(c, axis=0, keepdims=True), _TINY)
        perpendicular = d - (d * c).sum(axis=0, keepdims=True) * c
        guided: Floats = cond + np.float32(self.scale - 1) * perpendicular.astype(np.float32)
        return guided


def guide_plainly(cond: Floats, null: Floats, scale: float) -> Floats:
    """Classifier-free guidance as first published (Ho and Salimans, 2022): u + scale·(c − u)."""
    return null + np.float32(scale) * (cond - null)


def guide_by_angle(x: Floats, cond: Floats, null: Floats, t: float, scale: float) -> Floats:
    """Angle-based dynamic guidance: turns the predicted data of each frame away from the unconditional one.

    With x̂ = x − t·v, the angle θ between x̂_c and x̂_u over the 64 channels is multiplied by max(scale − 1, 0) + 1e-3
    and bounded by 3.14/6; the result is taken back to a velocity [T, 64].
    """
    weight = max(scale - 1, 0.0) + 1e-3
    t32 = np.float32(t)
    with_text, without = x - t32 * cond, x - t32 * null
    a, b = with_text.astype(np.float64), without.astype(np.float64)
    cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), _TINY)
    theta = np.arccos(np.clip(cosine, -1 + 1e-6, 1 - 1e-6))[:, None]
    turned = np.clip(weight * theta, -ADG_ANGLE, ADG_ANGLE)
    difference = with_text - without
    square = (without * without).sum(1, keepdims=True) + np.float32(1e-8)
    perpendicular = difference - (difference * without).sum(1, keepdims=True) / square * without
    ratio = np.where(np.sin(theta) > 1e-3, np.sin(turned) / np.sin(theta), weight)
    guided = np.cos(turned) * with_text + ratio * perpendicular
    velocity: Floats = ((x - guided) / t).astype(np.float32)
    return velocity
