"""Where a source lies on its song's time line, and which part of it is made anew (model facts E)."""

from dataclasses import dataclass

import numpy as np

from .errors import invalid
from .length import HOP, LATENT_CHANNELS, SAMPLE_RATE, SongLength, length_of_samples
from .models import Floats

MAX_SECONDS = 600.0
FRAMES_PER_SECOND = SAMPLE_RATE // HOP
# The reference blends ten latent frames at the borders of a repainted region.
FADE_SAMPLES = 10 * HOP


@dataclass(frozen=True)
class Canvas:
    """A source of `source` samples, `left` samples into a song of `samples`; [begin, end) seconds are made anew.

    Seconds count from the song's begin, so what lies before the source is part of them.
    """

    samples: int
    left: int
    source: int
    begin: float
    end: float

    @property
    def length(self) -> SongLength:
        return length_of_samples(self.samples)

    @property
    def is_whole(self) -> bool:
        """Nothing of the source is kept."""
        return self.begin <= 0 and round(self.end * SAMPLE_RATE) >= self.samples

    def frames(self) -> tuple[int, int]:
        """The latent frames [first, last) of the region: cut to whole frames, never empty."""
        frames = self.length.frames
        first = max(0, min(int(self.begin * FRAMES_PER_SECOND), frames - 1))
        return first, max(first + 1, min(int(self.end * FRAMES_PER_SECOND), frames))

    def place(self, source: Floats) -> Floats:
        """The source [2, n] on the song's time line with silence around it, filled up to whole frames."""
        canvas = np.zeros((2, self.length.frames * HOP), np.float32)
        canvas[:, self.left : self.left + self.source] = source
        return canvas


def plan_canvas(source: int, start: float, end: float | None, is_region: bool) -> Canvas:
    """The canvas of a task with a source of that many samples.

    Only tasks with a region take `start` and `end` (seconds of the source, end None for its end): a start before the
    source or an end past it makes the song longer. Errors: 400 for an empty region or a song that is too long.
    """
    seconds = source / SAMPLE_RATE
    if not is_region:
        start, end = 0.0, None
    last = seconds if end is None else end
    if last <= start:
        raise invalid("repaint_end", f"must be above repaint_start ({start:g}), and is {last:g}")
    if start >= seconds:
        raise invalid("repaint_start", f"must be before the source's end ({seconds:g} seconds)")
    if last <= 0:
        raise invalid("repaint_end", "must be after the source's begin")
    left = round(max(0.0, -start) * SAMPLE_RATE)
    right = max(0, round(last * SAMPLE_RATE) - source)
    samples = left + source + right
    if samples > MAX_SECONDS * SAMPLE_RATE:
        raise invalid("src_audio", f"makes a song of {samples / SAMPLE_RATE:g} seconds; {MAX_SECONDS:g} are allowed")
    offset = left / SAMPLE_RATE
    return Canvas(samples, left, source, max(0.0, start + offset), last + offset)


def region_mask(canvas: Canvas) -> Floats:
    """1 where frames are made anew, 0 where the source is kept: float32 [visible, 64]."""
    mask = np.ones((canvas.length.visible, LATENT_CHANNELS), np.float32)
    first, last = canvas.frames()
    mask[:first] = 0
    mask[last : canvas.length.frames] = 0
    return mask


class Splice:
    """Puts the source back outside a repainted region: bit by bit outside, cross-faded inside its borders."""

    def __init__(self, canvas: Canvas, source: Floats) -> None:
        self._source = canvas.place(source)[:, : canvas.samples]
        begin, end = round(canvas.begin * SAMPLE_RATE), min(round(canvas.end * SAMPLE_RATE), canvas.samples)
        self._weight = np.zeros(canvas.samples, np.float32)
        self._weight[begin:end] = 1
        fade = min(FADE_SAMPLES, (end - begin) // 2)
        ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / max(fade, 1))).astype(np.float32)
        if begin > canvas.left:
            self._weight[begin : begin + fade] = ramp
        if end < canvas.left + canvas.source:
            self._weight[end - fade : end] = ramp[::-1]

    def apply(self, offset: int, pcm: Floats) -> Floats:
        """The samples [2, n] at `offset` of the song, the source's where nothing was made anew."""
        here = slice(offset, offset + pcm.shape[1])
        weight, source = self._weight[here], self._source[:, here]
        return np.where(weight == 0, source, weight * pcm + (1 - weight) * source)
