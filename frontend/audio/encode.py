"""Raw samples to an audio file: gain to -1 dBFS peak, then mp3, wav or flac with tags."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from .id3 import id3
from .keep import sync
from .pcm import CHANNELS, SAMPLE_RATE

PEAK = 10 ** (-1 / 20)  # -1 dBFS
CONTENT_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "flac": "audio/flac"}
_MP3_SCALE = 0.97  # what LAME's preset for 192 kbit/s multiplies the samples with
_BLOCK = 1 << 16
# Not asyncio's own threads: a batch of long files would keep them for as long as it takes, and everybody else waits.
_ENCODERS = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="encode")


@dataclass(frozen=True)
class Tags:
    """What the file says about itself."""

    title: str
    artist: str
    comment: str
    software: str = "acestep-triton"


def gain(peak: float) -> float:
    """The factor that brings `peak` to -1 dBFS; silence stays silence."""
    return PEAK / peak if peak > 0 else 1.0


def limit(peak: float) -> float:
    """The factor that keeps a level, and brings peaks above 1 down to 1."""
    return min(1.0, 1.0 / peak) if peak > 0 else 1.0


class Stopped(Exception):
    """The file was given up before its end."""


async def write_file(source: Path, target: Path, audio_format: str, factor: float, tags: Tags) -> None:
    """`encode` off the event loop, as many files at a time as there are processors.

    Cancelling gives the file up, before it has begun or at the next block, and returns when it is gone.
    """
    stop = threading.Event()
    encoding = _ENCODERS.submit(encode, source, target, audio_format, factor, tags, stop)
    writing = asyncio.wrap_future(encoding)
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        stop.set()
        encoding.cancel()  # for one that waits for its thread
        await asyncio.wait((writing,))
        target.unlink(missing_ok=True)
        raise


def encode(
    source: Path, target: Path, audio_format: str, factor: float, tags: Tags, stop: threading.Event | None = None
) -> None:
    """Write the float32 frames of `source` times `factor` to `target`, atomically and in blocks; blocking."""
    partial, raw = target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.raw")
    if audio_format == "mp3":
        factor /= _MP3_SCALE
    try:
        with (
            source.open("rb") as samples,
            soundfile.SoundFile(raw, "w", samplerate=SAMPLE_RATE, channels=CHANNELS, **_form(audio_format)) as out,
        ):
            if audio_format != "mp3":
                out.title, out.artist, out.comment, out.software = tags.title, tags.artist, tags.comment, tags.software
            while block := samples.read(_BLOCK * CHANNELS * 4):
                if stop is not None and stop.is_set():
                    raise Stopped
                frames = np.frombuffer(block, dtype="<f4").reshape(-1, CHANNELS) * np.float32(factor)
                out.write(frames if audio_format == "mp3" else _sixteen_bit(frames))
        if audio_format == "mp3":
            _prepend(id3(tags.title, tags.artist, tags.comment, tags.software), raw, partial)
        else:
            raw.rename(partial)
        sync(partial)
        partial.replace(target)
        sync(target.parent)
    finally:
        raw.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)


def _form(audio_format: str) -> Mapping[str, object]:
    """libsndfile's words for a format. Level 4/9 of its constant-rate scale (320 to 32 kbit/s) is 192 kbit/s."""
    if audio_format == "mp3":
        return {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": 4 / 9}
    return {"format": audio_format.upper(), "subtype": "PCM_16"}


def _sixteen_bit(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Rounded here, because libsndfile rounds differently for wav and for flac."""
    rounded: npt.NDArray[np.float32] = np.clip(np.rint(frames * 32768), -32768, 32767)
    return rounded.astype(np.int16)


def _prepend(head: bytes, source: Path, target: Path) -> None:
    with source.open("rb") as rest, target.open("wb") as whole:
        whole.write(head)
        shutil.copyfileobj(rest, whole, _BLOCK)
