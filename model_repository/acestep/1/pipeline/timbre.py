"""Reference audio: the half minute whose sound a song takes on (docs/model.md, Condition)."""

import math

import numpy as np

from .length import SAMPLE_RATE
from .models import Floats

SEGMENT = 10 * SAMPLE_RATE
SILENCE = 1e-6


def is_silent(audio: Floats) -> bool:
    """Every |x| is below 1e-6: what the models know of such audio is the silence latent, as upstream."""
    return audio.shape[1] == 0 or max(float(audio.max()), -float(audio.min())) < SILENCE


def timbre_windows(audio: Floats) -> Floats:
    """30 s [2, 1440000] of a reference, clamped to ±1: ten seconds from its start, from one third on, and from its end.

    Shorter references are repeated. The windows are fixed, so that a seed gives the same song again; upstream picks
    them at random.
    """
    if audio.shape[1] < 3 * SEGMENT:
        audio = np.tile(audio, (1, math.ceil(3 * SEGMENT / audio.shape[1])))
    third = audio.shape[1] // 3
    windows = (audio[:, :SEGMENT], audio[:, third : third + SEGMENT], audio[:, -SEGMENT:])
    clamped: Floats = np.clip(np.concatenate(windows, axis=1), -1, 1)
    return clamped
