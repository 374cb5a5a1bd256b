"""Differential correction in the wavelet domain: a step's latents are pushed away from the clean ones it predicted.

Yu, Sun, Zeng, Chu, Zhan, "Elucidating the SNR-t Bias of Diffusion Probabilistic Models", 2026, arXiv 2604.16044, eq. 18
to 21; along the time axis with a Haar wavelet, as upstream 6d467e4 does.
"""

from dataclasses import dataclass

import numpy as np

from .models import Floats


@dataclass(frozen=True)
class Dcw:
    """Which bands are corrected and how strongly; `high_scaler` belongs to the mode double alone."""

    mode: str
    scaler: float
    high_scaler: float

    def correct(self, x: Floats, clean: Floats, t: float) -> Floats:
        """The latents x [T, 64] after the step that began at t, with `clean` = x_t − t·v [T, 64].

        The low band counts most at the begin, the high one at the end: t·s and (1 − t)·s.
        """
        low, high = t * self.scaler, (1 - t) * self.scaler
        match self.mode:
            case "low":
                return _push(x, clean, low, 0.0)
            case "high":
                return _push(x, clean, 0.0, high)
            case "double":
                return _push(x, clean, low, (1 - t) * self.high_scaler)
            case "pix":
                return x + np.float32(self.scaler) * (x - clean)
        raise ValueError(f"no such mode: {self.mode}")


def _push(x: Floats, clean: Floats, low: float, high: float) -> Floats:
    """x plus its bands' distances from `clean`, each times its factor.

    Of a Haar pair (a, b) the low band is the mean, the high one half the difference; an odd end has 0 beside it.
    """
    distance = x - clean
    if odd := len(distance) % 2:
        distance = np.concatenate([distance, np.zeros_like(distance[:1])])
    first, second = distance[0::2], distance[1::2]
    mean, half = np.float32(low / 2) * (first + second), np.float32(high / 2) * (first - second)
    push = np.empty_like(distance)
    push[0::2], push[1::2] = mean + half, mean - half
    pushed: Floats = x + push[: len(push) - odd]
    return pushed
