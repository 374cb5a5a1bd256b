"""Which latent frames a song has, which of them are made anew, and what the DiT sees of the source.

Sources: upstream's conditioning_masks.py, conditioning_target.py and padding_utils.py; docs/behaviour.md for lengths.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

RATE = 48_000
HOP = 1_920
CHANNELS = 64
LEAST_FRAMES = 128
REGION_TASKS = ("repaint", "lego")


@dataclass(frozen=True)
class Placed:
    """A source on its song's time line: audio float32 [2, samples], the region [begin, end) in samples of the song."""

    audio: Floats
    begin: int
    end: int


@dataclass(frozen=True)
class Canvas:
    """Frames of a song: `frames` hold its samples, the DiT sees `visible`, [first, last) are made anew."""

    frames: int
    visible: int
    first: int
    last: int


def frames_of(samples: int) -> int:
    """The frames that hold that many samples: the last one may be begun only."""
    frames = 0
    while frames * HOP < samples:
        frames += 1
    return frames


def place(source: Floats, start: float, end: float | None) -> Placed:
    """The source, clamped to ±1, with silence before and after it where the region goes past its ends."""
    source = np.clip(source, -1, 1)
    length = source.shape[1]
    before = round(-start * RATE) if start < 0 else 0
    stop = length if end is None else round(end * RATE)
    after = stop - length if stop > length else 0
    audio = np.concatenate([np.zeros((2, before)), source, np.zeros((2, after))], axis=1).astype(np.float32)
    return Placed(audio, round(start * RATE) + before, stop + before)


def canvas(samples: int, begin: int, end: int) -> Canvas:
    """The canvas of a song whose region is [begin, end) samples.

    Upstream floors both ends; a region that ends with the song has its last frame too (docs/behaviour.md), and no
    region is empty.
    """
    frames = frames_of(samples)
    first = min(begin // HOP, frames - 1)
    last = frames if end >= samples else end // HOP
    return Canvas(frames, max(frames, LEAST_FRAMES), first, max(first + 1, last))


def is_silent(audio: Floats) -> bool:
    """Whether every sample is below 1e-6, which upstream takes for silence and does not encode (memory_utils.py)."""
    return not (np.abs(audio) >= 1e-6).any()


def silence_frames(silence: Floats, frames: int) -> Floats:
    """That many frames of the checkpoint's silence [15000, 64], from its first frame, begun again at its end."""
    return np.stack([silence[frame % len(silence)] for frame in range(frames)])


def fill(latents: Floats, silence: Floats, visible: int) -> Floats:
    """Latents [visible, 64]: after the source's own frames comes silence from its first frame."""
    own = latents[:visible]
    missing = visible - len(own)
    return np.concatenate([own, silence_frames(silence, missing)]) if missing else own


def mask(task: str, mode: str, where: Canvas) -> Floats:
    """The mask [visible, 64] of a task: 1 is made anew, 0 is kept.

    `mode` is explicit (the task's own frames), ones, or auto: 2 in every frame, with which a later upstream (eae40da)
    leaves the choice to the model.
    """
    values = np.zeros((where.visible, CHANNELS), np.float32)
    for frame in range(where.visible):
        if mode == "auto":
            values[frame] = 2
        elif mode == "ones" or task not in REGION_TASKS or where.first <= frame < where.last:
            values[frame] = 1
    return values


def followed(task: str, source: Floats, silence: Floats, where: Canvas) -> Floats:
    """Source latents [visible, 64] as the DiT sees them: repaint hides its region behind the same frames of silence."""
    seen = source.copy()
    if task == "repaint":
        quiet = silence_frames(silence, where.visible)
        for frame in range(where.first, where.last):
            seen[frame] = quiet[frame]
    return seen


def context(latents: Floats, mask: Floats) -> Floats:
    """Context latents [visible, 128] of the DiT: what it follows, then the mask (upstream's prepare_condition)."""
    return np.concatenate([latents, mask], axis=1).astype(np.float32)
