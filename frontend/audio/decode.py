"""Uploaded audio to samples: any rate and channel count in, 48 kHz stereo out, block by block.

What reads a client's bytes runs in a process of its own: see frontend.audio.child.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from .pcm import CHANNELS, SAMPLE_RATE
from .riff import read_claim

Floats = npt.NDArray[np.float32]

FORMATS = "wav, flac, ogg, opus or mp3"
MAX_SECONDS = 600
_CONTAINERS = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3"})
_LOWEST_RATE, _HIGHEST_RATE = 4_000, 384_000
_UNKNOWN_LENGTH = 2**63 - 1  # what libsndfile says of a FLAC file that was written as a stream
_BLOCK = 1 << 17  # values of one read, all channels together
# Encoders fill up their last block: what they add to ten minutes is cut off instead of refused.
_PADDING_SECONDS = 0.1


class UnreadableAudio(ValueError):
    """A file that cannot be used; the text says why in one line that continues the field's name."""


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
    try:
        with _Stream(path) as sound:
            _check(sound)
            _check_claim(path, sound.samplerate)
            for block in _resampled(sound):
                kept = block[: max(0, limit - decoded)]
                decoded += len(block)
                _check_length(decoded / SAMPLE_RATE)
                yield np.clip(kept, -1, 1)
    except soundfile.LibsndfileError:
        raise UnreadableAudio(f"cannot be read; it must be {FORMATS}") from None


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is only read onwards. Otherwise soundfile seeks after every read, and an mp3 breaks there."""

    def seekable(self) -> bool:
        return False


def _check(sound: _Stream) -> None:
    if sound.format not in _CONTAINERS:
        raise UnreadableAudio(f"is {sound.format.lower()}; it must be {FORMATS}")
    if not _LOWEST_RATE <= sound.samplerate <= _HIGHEST_RATE:
        raise UnreadableAudio(f"has a sample rate of {sound.samplerate}; it must be {_LOWEST_RATE} to {_HIGHEST_RATE}")
    if sound.frames != _UNKNOWN_LENGTH:
        _check_length(sound.frames / sound.samplerate)


def _check_claim(path: Path, rate: int) -> None:
    """Refuse a WAV file whose header promises more than there is; libsndfile would take what there is."""
    claim = read_claim(path)
    if claim is not None and claim.claimed > claim.present:
        _check_length(claim.claimed / claim.frame_bytes / rate)
        raise UnreadableAudio("is cut off: its header promises more audio than there is")


def _check_length(seconds: float) -> None:
    if seconds > MAX_SECONDS + _PADDING_SECONDS:
        raise UnreadableAudio(f"is longer than {MAX_SECONDS} seconds")


def _resampled(sound: _Stream) -> Iterator[Floats]:
    """Stereo blocks at 48 kHz: a file of that rate as it is, others through soxr's best linear-phase filter."""
    if sound.samplerate == SAMPLE_RATE:
        yield from _stereo(sound)
        return
    resampler = soxr.ResampleStream(sound.samplerate, SAMPLE_RATE, CHANNELS, dtype="float32", quality="VHQ")
    for block in _stereo(sound):
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty((0, CHANNELS), np.float32), last=True)


def _stereo(sound: _Stream) -> Iterator[Floats]:
    """Blocks [n, 2] at the file's rate: mono on both sides, the first two of more channels."""
    frames = max(1, _BLOCK // sound.channels)
    while len(block := sound.read(frames, dtype="float32", always_2d=True)):
        if not np.isfinite(block).all():
            raise UnreadableAudio("holds samples that are no numbers")
        yield np.repeat(block, 2, axis=1) if block.shape[1] == 1 else np.ascontiguousarray(block[:, :CHANNELS])
