"""Reference audio: the half minute whose sound a song takes on (model facts E)."""

import math

import numpy as np

from .length import SAMPLE_RATE
from .models import Floats

SEGMENT = 10 * SAMPLE_RATE
SILENCE = 1e-6


def is_silent(audio: Floats) -> bool:
    """Nothing to take a timbre from; the reference ignores such audio too."""
    return audio.shape[1] == 0 or float(np.abs(audio).max()) < SILENCE


def timbre_windows(audio: Floats) -> Floats:
    """30 s [2, 1440000] of a reference: ten seconds from its start, from one third on, and from its end.

    Shorter references are repeated. The windows are fixed, so that a seed gives the same song again; upstream picks
    them at random.
    """
    if audio.shape[1] < 3 * SEGMENT:
        audio = np.tile(audio, (1, math.ceil(3 * SEGMENT / audio.shape[1])))
    third = audio.shape[1] // 3
    return np.concatenate([audio[:, :SEGMENT], audio[:, third : third + SEGMENT], audio[:, -SEGMENT:]], axis=1)
