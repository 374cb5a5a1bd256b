"""How long a song is, in samples, latent frames and DiT frames."""

import math
from dataclasses import dataclass

SAMPLE_RATE = 48_000
HOP = 1_920
LATENT_CHANNELS = 64
# The shortest sequence the DiT was trained on (docs/model.md, DiT).
MIN_DIT_FRAMES = 128
# DiT calls are padded to a multiple of this, alone or among others: vector units then sum every song's rows in the
# same order, which keeps a song's bits the same whoever shares its call.
FRAME_BUCKET = 64
TOKEN_BUCKET = 32


@dataclass(frozen=True)
class SongLength:
    """samples: of the delivered audio; frames: latents that hold it; visible: frames the DiT attends to."""

    samples: int
    frames: int
    visible: int


def song_length(seconds: float) -> SongLength:
    """Lengths of a song of that many seconds at 48 kHz."""
    return length_of_samples(round(SAMPLE_RATE * seconds))


def length_of_samples(samples: int) -> SongLength:
    """Lengths of a song of that many samples."""
    frames = math.ceil(samples / HOP)
    return SongLength(samples, frames, max(frames, MIN_DIT_FRAMES))


def padded(n: int, bucket: int) -> int:
    """The next multiple of the bucket."""
    return -(-n // bucket) * bucket
