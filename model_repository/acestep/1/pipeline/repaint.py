"""How repaint and lego keep the rest of a source: upstream's modes (6d467e4, since 2026-03-11)."""

from dataclasses import dataclass

from .length import SAMPLE_RATE
from .models import Floats
from .region import ramps
from .sampler import mix

# Of the mode conservative; balanced has a share of each.
BLEND_FRAMES = 25
FADE_SECONDS = 0.05


@dataclass(frozen=True)
class Keeping:
    """How much of the source is put back: after which share of the steps, over how many frames and samples it fades."""

    injected: float
    blend_frames: int
    fade_samples: int
    is_spliced: bool

    @classmethod
    def of(cls, mode: str, strength: float) -> "Keeping":
        """`strength` counts in the mode balanced alone: 0 keeps as conservative does, 1 injects and fades nothing."""
        if mode == "aggressive":
            return cls(0.0, 0, 0, is_spliced=False)
        share = 1.0 if mode == "conservative" else 1.0 - strength
        return cls(share, round(BLEND_FRAMES * share), int(FADE_SECONDS * share * SAMPLE_RATE), is_spliced=True)


@dataclass(frozen=True, eq=False)
class Kept:
    """What a track keeps of its source: all but the frames [first, last).

    `clean` and `noise` float32 [visible, 64]: the source's latents, and the noise that the track begins with.
    """

    clean: Floats
    noise: Floats
    first: int
    last: int
    steps: int
    blend_frames: int

    def inject(self, x: Floats, step: int, t: float) -> Floats:
        """x [T, 64] after the step, its kept frames replaced by the source's, noised to t; in the first steps alone."""
        if step >= self.steps:
            return x
        kept = mix(self.noise, self.clean, t)
        kept[self.first : self.last] = x[self.first : self.last]
        return kept

    def blend(self, x: Floats) -> Floats:
        """The finished latents [T, 64], faded into the source's over frames outside the region."""
        if self.blend_frames == 0:
            return x
        weight = ramps(len(x), self.first, self.last, self.blend_frames)[:, None]
        return weight * x + (1 - weight) * self.clean

