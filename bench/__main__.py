"""`make bench`: one song's time in the models alone, in the pipeline and end to end, round by round in one run."""

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from bench.busy import measure_busy
from bench.fair import measure_fair
from bench.formats import report_formats
from bench.long import measure_long
from bench.memory import PeakMemory
from bench.models_alone import ModelsAlone
from bench.ports import free_ports
from bench.scrape import scrape, total
from bench.soak import measure_soak
from bench.songs import CAPTION, LYRICS, make, order
from embedded import stack_file
from embedded.borrowed_stack import borrow
from embedded.stack_file import StackFile
from frontend.audio.encode import encode, gain
from frontend.audio.formats import SONG_FORMATS
from frontend.audio.writers import Tags
from frontend.settings import resolve
from frontend.songs.client import SongClient
from frontend.songs.events import Audio

SONG = {"caption": CAPTION, "lyrics": LYRICS, "steps": 8, "seeds": [42]}
PORTS = ("ACESTEP_API_PORT", "OPENROUTER_PORT", "TRITON_HTTP_PORT", "TRITON_GRPC_PORT", "TRITON_METRICS_PORT")


def main() -> None:
    """Starts a stack of its own, measures, prints Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--long", action="store_true", help="instead: songs of 600 s, and memory before and after them")
    kind.add_argument("--soak", type=int, nargs="?", const=2000, metavar="SONGS",
                      help="instead: memory over so many short songs (2000)")
    kind.add_argument("--fair", action="store_true", help="instead: a short song beside long ones, and throughput")
    kind.add_argument("--busy", action="store_true", help="instead: loop lag under songs with uploads and codes")
    kind.add_argument("--formats", action="store_true", help="instead, without a stack: time to write each format")
    arguments = parser.parse_args()
    if arguments.formats:
        report_formats(min(arguments.rounds, 5))
        return
    with tempfile.TemporaryDirectory(prefix="acestep-bench-") as state:
        os.environ |= {name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
        # With an LM the song would be planned first, which bench.lm measures.
        os.environ |= {"ACESTEP_TMPDIR": state, "LM": "none", "JOB_KEEP_COUNT": "50"}
        settings = resolve({}, os.environ, {})
        with borrow(settings, print):
            running = stack_file.read(settings.state)
            assert running is not None
            if arguments.long:
                measure_long(running)
            elif arguments.soak:
                measure_soak(running, arguments.soak)
            elif arguments.fair:
                measure_fair(running, arguments.rounds)
            elif arguments.busy:
                measure_busy(running, arguments.rounds)
            else:
                measure(running, arguments.rounds, arguments.seconds)


def measure(running: StackFile, rounds: int, seconds: float) -> None:
    """All figures of one run, the three kinds taking turns so that a noisy machine hits them alike."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the served sessions
    models = ModelsAlone(Path(running.repository), options)
    song = SONG | {"duration": seconds}
    times: dict[str, list[float]] = {"models alone": [], "pipeline": [], "end to end": []}
    parts: dict[str, list[float]] = {}
    pcm = sing(running.triton_grpc, song)[1]
    models.sing(**song)
    make(running.api, order(seconds))
    before = scrape(running.triton_metrics)
    for _ in range(rounds):
        alone = models.sing(**song)
        times["models alone"].append(sum(alone.values()))
        for name, value in alone.items():
            parts.setdefault(name, []).append(value)
        times["pipeline"].append(sing(running.triton_grpc, song)[0])
        times["end to end"].append(make(running.api, order(seconds)))
    after = scrape(running.triton_metrics)
    # In a run of its own: reading the memory of a dozen processes takes time that songs would miss.
    with PeakMemory(running.pid, running.shm_prefix) as memory:
        make(running.api, order(seconds))
    report(times, parts, seconds)
    report_metrics(before, after)
    report_files(pcm)
    print(f"\n{memory}")


def sing(grpc: str, song: dict[str, Any]) -> tuple[float, npt.NDArray[np.float32]]:
    """Seconds from request to the `done` event over gRPC, and the audio."""
    async def run() -> tuple[float, npt.NDArray[np.float32]]:
        client = SongClient(grpc)
        begin = time.perf_counter()
        chunks = [event.pcm async for event in client.song({"kind": "song"} | song) if isinstance(event, Audio)]
        taken = time.perf_counter() - begin
        await client.close()
        return taken, np.concatenate(chunks, axis=1)
    return asyncio.run(run())


def report(times: dict[str, list[float]], parts: dict[str, list[float]], seconds: float) -> None:
    rounds = len(times["pipeline"])
    print(f"\n{seconds:g} s song, wav, 8 steps, {rounds} rounds; {platform.machine()}, {os.cpu_count()} cores\n")
    print("| | median s | min | max | of models alone |\n| --- | --- | --- | --- | --- |")
    for name, values in times.items():
        ratio = statistics.median(a / b for a, b in zip(values, times["models alone"], strict=True))
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} | {ratio:.2f} |")
    print("\nmodels alone: " + ", ".join(f"{name} {statistics.median(v):.2f} s" for name, v in parts.items()))


def report_metrics(before: list[tuple[str, str, float]], after: list[tuple[str, str, float]]) -> None:
    def grown(name: str, label: str = "") -> float:
        return total(after, name, label) - total(before, name, label)
    calls = grown("acestep_dit_calls_total")
    print(f"bytes copied per DiT step: {grown('acestep_dit_copied_bytes_total') / calls / 1024:.0f} KiB")
    lags = grown("acestep_event_loop_lag_seconds_count")
    shares = []
    for bound in ("0.0025", "0.005", "0.025"):
        share = grown("acestep_event_loop_lag_seconds_bucket", f'le="{bound}"') / lags
        shares.append(f"{100 * share:.1f} % within {1000 * float(bound):g} ms")
    print(f"pipeline event-loop lag over {lags:.0f} samples: {', '.join(shares)}")


def report_files(pcm: npt.NDArray[np.float32]) -> None:
    """Time to write the file alone, by format."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "pcm"
        spool.write_bytes(np.ascontiguousarray(pcm.T).tobytes())
        for audio_format in SONG_FORMATS:
            taken = []
            for _ in range(3):
                begin = time.perf_counter()
                encode(spool, Path(folder) / f"song.{audio_format}", audio_format, gain(float(np.abs(pcm).max())),
                       Tags("bench", "bench", "bench"))
                taken.append(time.perf_counter() - begin)
            print(f"write {audio_format}: {statistics.median(taken):.2f} s")


if __name__ == "__main__":
    main()
