"""Which part of a reference is heard, and where its timbre stands among what the DiT attends to.

Sources: upstream's io_audio.py (three windows of ten seconds, at random places), conditioning_embed.py and
pack_sequences; docs/behaviour.md for the fixed places.
"""

from dataclasses import dataclass

import numpy as np

from .masks import RATE, Floats, is_silent

WINDOW = 10 * RATE


def windows(reference: Floats) -> Floats | None:
    """Half a minute [2, 1440000] of a reference, clamped to ±1: its begin, what follows its first third, its end.

    One that is shorter than that is repeated first, as often as it takes, whole each time. None of silence.
    """
    if is_silent(reference):
        return None
    reference = np.clip(reference, -1, 1)
    repeated = reference
    while repeated.shape[1] < 3 * WINDOW:
        repeated = np.concatenate([repeated, reference], axis=1)
    length = repeated.shape[1]
    starts = (0, length // 3, length - WINDOW)
    return np.concatenate([repeated[:, start : start + WINDOW] for start in starts], axis=1)


@dataclass(frozen=True)
class Order:
    """The rows of a song's condition: those of the lyrics, the one of the timbre, those of the caption's text."""

    lyrics: range
    timbre: int
    text: range


def order(lyric_tokens: int, text_tokens: int) -> Order:
    """Where each branch stands: lyrics, then timbre, then text, without gaps (every token counts, none is padding)."""
    return Order(range(lyric_tokens), lyric_tokens, range(lyric_tokens + 1, lyric_tokens + 1 + text_tokens))
