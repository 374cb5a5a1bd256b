"""Uploaded audio to samples: any rate and channel count in, 48 kHz stereo out, block by block.

What reads a client's bytes runs in a process of its own: see frontend.audio.child.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from .pcm import CHANNELS, SAMPLE_RATE
from .riff import read_claim

Floats = npt.NDArray[np.float32]

FORMATS = "wav, flac, ogg, opus, mp3, m4a, aac, webm, mp4 or mov"
UNREADABLE = f"cannot be read; it must be {FORMATS}"
MAX_SECONDS = 600
_CONTAINERS = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "OGG"})
_LOWEST_RATE, _HIGHEST_RATE = 4_000, 384_000
_UNKNOWN_LENGTH = 2**63 - 1  # what libsndfile says of a FLAC file that was written as a stream
_BLOCK = 1 << 17  # values of one read, all channels together
# Encoders fill up their last block: what they add to ten minutes is cut off instead of refused.
_PADDING_SECONDS = 0.1


class UnreadableAudio(ValueError):
    """A file that cannot be used; the text says why in one line that continues the field's name."""


@dataclass(frozen=True)
class Sound:
    """An open file: its sample rate, its length in seconds if it says so, its samples as float32 [n, channels]."""

    rate: int
    seconds: float | None
    blocks: Iterator[Floats]


def measure(path: Path) -> int:
    """How many samples at 48 kHz `decode` gives; decodes all of it. Errors: UnreadableAudio."""
    samples = sum(len(block) for block in decode(path))
    if not samples:
        raise UnreadableAudio("holds no audio")
    return samples


def decode(path: Path) -> Iterator[Floats]:
    """Blocks float32 [n, 2] of the whole file within ±1, the same ones every time. Errors: UnreadableAudio."""
    limit = MAX_SECONDS * SAMPLE_RATE
    decoded = 0
    with _open(path) as sound:
        if not _LOWEST_RATE <= sound.rate <= _HIGHEST_RATE:
            raise UnreadableAudio(f"has a sample rate of {sound.rate}; it must be {_LOWEST_RATE} to {_HIGHEST_RATE}")
        _check_length(sound.seconds or 0)
        for block in _resampled(sound):
            kept = block[: max(0, limit - decoded)]
            decoded += len(block)
            _check_length(decoded / SAMPLE_RATE)
            yield np.clip(kept, -1, 1)


@contextmanager
def _open(path: Path) -> Iterator[Sound]:
    """The file by libsndfile, or by FFmpeg."""
    stream = _by_libsndfile(path)
    if stream is None:
        from .ffmpeg import open_sound  # takes a tenth of a second, which most files do without

        with open_sound(path) as sound:
            yield sound
        return
    try:
        with stream:
            if stream.format not in _CONTAINERS:
                raise UnreadableAudio(f"is {stream.format.lower()}; it must be {FORMATS}")
            _check_claim(path, stream.samplerate)
            seconds = None if stream.frames == _UNKNOWN_LENGTH else stream.frames / stream.samplerate
            yield Sound(stream.samplerate, seconds, _blocks(stream))
    except soundfile.LibsndfileError:
        raise UnreadableAudio(UNREADABLE) from None


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is only read onwards; otherwise soundfile seeks after every read."""

    def seekable(self) -> bool:
        return False


def _by_libsndfile(path: Path) -> _Stream | None:
    """The open file; None where libsndfile does not know it, and for every mp3.

    It guesses how long an mp3 is that does not say so, stops there, and takes a damaged frame for the end.
    """
    try:
        stream = _Stream(path)
    except soundfile.LibsndfileError:
        return None
    if stream.format != "MP3":
        return stream
    stream.close()
    return None


def _blocks(stream: _Stream) -> Iterator[Floats]:
    frames = max(1, _BLOCK // stream.channels)
    while len(block := stream.read(frames, dtype="float32", always_2d=True)):
        yield block


def _check_claim(path: Path, rate: int) -> None:
    """Refuse a WAV file whose header promises more than there is; libsndfile would take what there is."""
    claim = read_claim(path)
    if claim is not None and claim.claimed > claim.present:
        _check_length(claim.claimed / claim.frame_bytes / rate)
        raise UnreadableAudio("is cut off: its header promises more audio than there is")


def _check_length(seconds: float) -> None:
    if seconds > MAX_SECONDS + _PADDING_SECONDS:
        raise UnreadableAudio(f"is longer than {MAX_SECONDS} seconds")


def _resampled(sound: Sound) -> Iterator[Floats]:
    """Stereo blocks at 48 kHz: a file of that rate as it is, others through soxr's best linear-phase filter."""
    if sound.rate == SAMPLE_RATE:
        yield from _stereo(sound)
        return
    resampler = soxr.ResampleStream(sound.rate, SAMPLE_RATE, CHANNELS, dtype="float32", quality="VHQ")
    for block in _stereo(sound):
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty((0, CHANNELS), np.float32), last=True)


def _stereo(sound: Sound) -> Iterator[Floats]:
    """Blocks [n, 2] at the file's rate: mono on both sides, the first two of more channels."""
    for block in sound.blocks:
        if not np.isfinite(block).all():
            raise UnreadableAudio("holds samples that are no numbers")
        yield np.repeat(block, 2, axis=1) if block.shape[1] == 1 else np.ascontiguousarray(block[:, :CHANNELS])
