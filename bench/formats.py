"""Seconds to write 60 s of music in every format, new beside old in one run, and what that holds up."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import soundfile

from frontend.audio.encode import PEAK, encode, write_file
from frontend.audio.formats import SONG_FORMATS
from frontend.audio.pcm import CHANNELS, SAMPLE_RATE
from frontend.audio.writers import Tags

from .music import Floats, music

_SECONDS = 60
_TAGS = Tags("bench", "bench", "bench")
_AT_A_TIME = 4
_TICK = 0.002


def report_formats(rounds: int) -> None:
    """Prints Markdown: the least processor time of some rounds, in which the formats take turns."""
    samples = music(_SECONDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spool = folder / "spool"
        spool.write_bytes(samples.tobytes())
        ways: dict[tuple[str, str], Callable[[], Path]] = {
            ("mp3", "old: libsndfile, 192 kbit/s"): lambda: _libsndfile(samples, folder / "old.mp3", "mp3"),
            ("mp3", "LAME of PyAV, 192 kbit/s, level 7"): lambda: _lame_of_pyav(samples, folder / "pyav.mp3"),
            ("flac", "old: libsndfile"): lambda: _libsndfile(samples, folder / "old.flac", "flac"),
            ("wav", "old: libsndfile"): lambda: _libsndfile(samples, folder / "old.wav", "wav"),
        } | {(form, "new"): _new(spool, folder, form) for form in SONG_FORMATS}
        taken: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
        size = {}
        for _ in range(rounds):
            for way, write in ways.items():
                begin = time.process_time()
                size[way] = write().stat().st_size
                taken[way].append(time.process_time() - begin)
        print(f"\n{_SECONDS} s of synthesised music, processor seconds, {rounds} rounds that take turns\n")
        print("| format | by | least s | median s | kbit/s |\n| --- | --- | --- | --- | --- |")
        for way in sorted(ways, key=lambda way: (list(SONG_FORMATS).index(way[0]), way[1] == "new")):
            times = sorted(taken[way])
            print(f"| {way[0]} | {way[1]} | {times[0]:.2f} | {times[len(times) // 2]:.2f} "
                  f"| {size[way] * 8 / _SECONDS / 1000:.0f} |")
        print(f"\n{_AT_A_TIME} files at a time, asked for together; the event loop ticks every {1000 * _TICK:g} ms\n")
        print("| format | seconds | loop late by, median ms | 99 % ms | at most ms |\n| --- | --- | --- | --- | --- |")
        for form in ("", *SONG_FORMATS):
            seconds, late = asyncio.run(_together(spool, folder, form))
            figures = " | ".join(f"{1000 * value:.1f}" for value in np.percentile(late, (50, 99, 100)))
            print(f"| {form or 'nothing'} | {seconds:.2f} | {figures} |")


def _new(spool: Path, folder: Path, form: str) -> Callable[[], Path]:
    def write() -> Path:
        encode(spool, folder / f"new.{form}", form, PEAK, _TAGS)
        return folder / f"new.{form}"
    return write


async def _together(spool: Path, folder: Path, form: str) -> tuple[float, list[float]]:
    """Seconds until all files are written, and how late each tick of the loop was; no file: two seconds of ticks."""
    files = [write_file(spool, folder / f"{i}.{form}", form, PEAK, _TAGS) for i in range(_AT_A_TIME)]
    begin = time.perf_counter()
    writing = asyncio.gather(*files) if form else asyncio.ensure_future(asyncio.sleep(2))
    if not form:
        for file in files:
            file.close()
    late = []
    while not writing.done():
        asked = time.perf_counter()
        await asyncio.sleep(_TICK)
        late.append(time.perf_counter() - asked - _TICK)
    await writing
    return time.perf_counter() - begin, late


def _libsndfile(samples: Floats, target: Path, form: str) -> Path:
    """What wrote the files before: 192 kbit/s constant for mp3, 16 bit for the others."""
    kind = {"subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": 4 / 9}
    with soundfile.SoundFile(
        target, "w", SAMPLE_RATE, CHANNELS, format=form.upper(), **kind if form == "mp3" else {"subtype": "PCM_16"}
    ) as out:
        for at in range(0, len(samples), 1 << 16):
            block = samples[at : at + (1 << 16)] * np.float32(PEAK)
            out.write(block if form == "mp3" else np.rint(block * 32768).astype(np.int16))
    return target


def _lame_of_pyav(samples: Floats, target: Path) -> Path:
    """PyAV's LAME with the level that is its quickest."""
    with av.open(str(target), "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", SAMPLE_RATE, options={"compression_level": "7"})
        stream.codec_context.format, stream.codec_context.layout = "fltp", "stereo"
        stream.codec_context.bit_rate = 192_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T * np.float32(PEAK)), "fltp", "stereo")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target
