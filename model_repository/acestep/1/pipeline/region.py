"""Where a source lies on its song's time line, and which part of it is made anew (docs/model.md, Sources)."""

from dataclasses import dataclass

import numpy as np

from .errors import invalid
from .length import HOP, LATENT_CHANNELS, SAMPLE_RATE, SongLength, length_of_samples
from .models import Floats

MAX_SECONDS = 600.0
# The reference blends ten latent frames at the borders of a repainted region.
FADE_SAMPLES = 10 * HOP


@dataclass(frozen=True)
class Canvas:
    """A source of `source` samples, `left` samples into a song of `samples`; samples [begin, end) are made anew.

    They count from the song's begin, so what lies before the source is part of them. Whole samples, because seconds
    that are fractions of two would put a border that lies on a frame before or after it.
    """

    samples: int
    left: int
    source: int
    begin: int
    end: int

    @property
    def length(self) -> SongLength:
        return length_of_samples(self.samples)

    @property
    def is_whole(self) -> bool:
        """Nothing of the source is kept."""
        return self.begin <= 0 and self.end >= self.samples

    def frames(self) -> tuple[int, int]:
        """The latent frames [first, last) of the region, never empty.

        A border inside the song is that of the frame it lies in, as upstream; the song's end is that of its last frame,
        which a song off the frame grid does not fill.
        """
        frames = self.length.frames
        first = min(self.begin // HOP, frames - 1)
        last = frames if self.end >= self.samples else self.end // HOP
        return first, max(first + 1, last)

    def place(self, source: Floats) -> Floats:
        """The source [2, n], clamped to ±1, on the song's time line: silence around it, filled up to whole frames."""
        canvas = np.zeros((2, self.length.frames * HOP), np.float32)
        np.clip(source, -1, 1, out=canvas[:, self.left : self.left + self.source])
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
    begin = max(0, round(start * SAMPLE_RATE) + left)
    return Canvas(samples, left, source, begin, min(samples, round(last * SAMPLE_RATE) + left))


def region_mask(canvas: Canvas) -> Floats:
    """1 in the frames of the region, 0 elsewhere: float32 [visible, 64].

    The frames that only fill a short song up to what the DiT sees are 0 too: they are silence that is kept.
    """
    mask = np.zeros((canvas.length.visible, LATENT_CHANNELS), np.float32)
    first, last = canvas.frames()
    mask[first:last] = 1
    return mask


def fade_inside(canvas: Canvas) -> Floats:
    """The weight of this project's own cross-fade: the source is kept bit by bit outside the region, faded inside."""
    begin, end = canvas.begin, canvas.end
    weight = np.zeros(canvas.samples, np.float32)
    weight[begin:end] = 1
    fade = min(FADE_SAMPLES, (end - begin) // 2)
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / max(fade, 1))).astype(np.float32)
    if begin > canvas.left:
        weight[begin : begin + fade] = ramp
    if end < canvas.left + canvas.source:
        weight[end - fade : end] = ramp[::-1]
    return weight


def fade_outside(canvas: Canvas, width: int) -> Floats:
    """The weight of upstream's splice: linear over `width` samples outside the region."""
    return ramps(canvas.samples, canvas.begin, canvas.end, width)


def ramps(length: int, first: int, last: int, width: int) -> Floats:
    """1 in [first, last), falling in equal parts to 0 over `width` on either side: float32 [length]."""
    weight = np.zeros(length, np.float32)
    weight[first:last] = 1
    before, after = min(width, first), min(width, length - last)
    weight[first - before : first] = np.linspace(0, 1, before + 2, dtype=np.float32)[1:-1]
    weight[last : last + after] = np.linspace(1, 0, after + 2, dtype=np.float32)[1:-1]
    return weight


class Splice:
    """Puts the source back outside a region; `weight` float32 [samples] is 1 where nothing of it is kept."""

    def __init__(self, canvas: Canvas, source: Floats, weight: Floats) -> None:
        self._source = canvas.place(source)[:, : canvas.samples]
        self._weight = weight

    def apply(self, offset: int, pcm: Floats) -> Floats:
        """The samples [2, n] at `offset` of the song, the source's where nothing was made anew."""
        here = slice(offset, offset + pcm.shape[1])
        weight, source = self._weight[here], self._source[:, here]
        return np.where(weight == 0, source, weight * pcm + (1 - weight) * source)

    def close(self) -> None:
        """Lets go of the source, which can take ten milliseconds."""
        self._source = self._source[:, :0].copy()
