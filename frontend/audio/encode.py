"""Raw samples to an audio file: gain to -1 dBFS peak, then a format with tags."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .keep import sync
from .pcm import CHANNELS
from .writers import Tags, writer

PEAK = 10 ** (-1 / 20)  # -1 dBFS
_BLOCK = 1 << 16
# Not asyncio's own threads: a batch of long files would keep them for as long as it takes, and everybody else waits.
_ENCODERS = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="encode")


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
    partial = target.with_name(f".{target.name}.part")
    try:
        with source.open("rb") as samples, partial.open("wb+") as file, writer(audio_format, file, tags) as out:
            while block := samples.read(_BLOCK * CHANNELS * 4):
                if stop is not None and stop.is_set():
                    raise Stopped
                out.write(np.frombuffer(block, dtype="<f4").reshape(-1, CHANNELS) * np.float32(factor))
        sync(partial)
        partial.replace(target)
        sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)
