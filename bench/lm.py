"""`make bench-lm`: guided codes per second of both engines of the 5 Hz LM, through Triton, in one run."""

import argparse
import datetime
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import lm_checkpoint
from bench.lm_load import CFG_SCALE, Flight, SongWriter, fly
from bench.lm_server import BUILD, serve
from bench.memory import PeakMemory
from export import tiny_lm
from frontend.catalogue import ENGINES
from tests.lm_client import VOICE

IN_FLIGHT = (1, 4, 16)
ROUNDS = 8
MAX_MODEL_LEN = 4096
KV_GIB = "3"  # of the 0.6B shape's 112 KiB a token: 16 guided songs, and a pair of the longest there may be


@dataclass(frozen=True)
class Size:
    """A network to measure: how its folder is made, its number format, and how many codes a song gets."""

    title: str
    folder: Path
    write: Callable[[Path], None]
    dtype: str
    codes: int


def write_tiny(folder: Path) -> None:
    """Makes the embedded LM anew: its recipe may have changed since the last run."""
    shutil.rmtree(folder, ignore_errors=True)
    tiny_lm.write(folder)


FOLDER = BUILD / "bench"
SIZES = {
    "tiny": Size("Embedded LM", FOLDER / "acestep-5Hz-lm-tiny", write_tiny, "float32", 200),
    "full": Size("0.6B with random weights", FOLDER / "acestep-5Hz-lm-0.6B", lm_checkpoint.write, "bfloat16", 40),
}


def main() -> None:
    """Serves one engine after the other, measures, prints Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.lm", description=__doc__)
    parser.add_argument("--size", choices=[*SIZES, "both"], default="both")
    parser.add_argument("--metadata", action="store_true", help="metadata instead of codes: guided and unguided")
    parser.add_argument("--codes", type=int, help="codes per song, instead of each size's own number")
    arguments = parser.parse_args()
    os.environ["LM_CPU_KV_GIB"] = KV_GIB
    command = " ".join(["python -m bench.lm", *sys.argv[1:]])
    print(f"{datetime.date.today()}, {hardware()}, `{command}`")
    for name, size in SIZES.items():
        if arguments.size in (name, "both"):
            if arguments.metadata:
                measure_metadata(size)
            else:
                measure(size, arguments.codes or size.codes)


def measure(size: Size, codes: int) -> None:
    """Every engine with every number of songs, the same songs for both."""
    size.write(size.folder)
    flights: dict[str, list[Flight]] = {}
    notes = []
    for engine in ENGINES:
        begin = time.perf_counter()
        with serve(engine, size.folder, size.dtype, MAX_MODEL_LEN) as served:
            notes.append(f"{engine}: ready after {time.perf_counter() - begin:.0f} s")
            writer = SongWriter(size.folder)
            fly(served, [writer.ask(2)])  # the first calls allocate and tune
            with PeakMemory(served.pid, served.shm_prefix, interval=5.0) as memory:
                flights[engine] = [fly(served, [writer.ask(codes) for _ in range(count)]) for count in IN_FLIGHT]
            notes[-1] += f", peak memory {memory.peaks['all'] / 1024:.1f} GiB (PSS)"
    report(size, codes, flights, notes)


def measure_metadata(size: Size) -> None:
    """Metadata on vLLM, guided and unguided, taking turns."""
    size.write(size.folder)
    with serve("vllm", size.folder, size.dtype, MAX_MODEL_LEN) as served:
        writer = SongWriter(size.folder)
        for guided in (True, False):
            fly(served, [writer.ask_metadata(guided)])
        print(f"\n{size.title}, {size.dtype}: metadata, {ROUNDS} rounds taking turns, tokens/s, median (min to max)\n")
        print("| songs in flight | unguided, one row | guided, two rows | ratio of each round, median |")
        print("| --- | --- | --- | --- |")
        for count in IN_FLIGHT[:2]:
            rates: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(ROUNDS):
                for guided, rate in rates.items():
                    rate.append(fly(served, [writer.ask_metadata(guided) for _ in range(count)]).rate)
            ratios = [plain / guided for plain, guided in zip(rates[False], rates[True], strict=True)]
            print(f"| {count} | {_spread(rates[False])} | {_spread(rates[True])} | {statistics.median(ratios):.2f} |")


def _spread(rates: list[float]) -> str:
    return f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"


def report(size: Size, codes: int, flights: dict[str, list[Flight]], notes: list[str]) -> None:
    conditional, unconditional = SongWriter(size.folder).prompt_tokens()
    print(f"\n{size.title}, {size.dtype}: {codes} codes per song after prompts of {conditional} and {unconditional} "
          f"tokens; temperature {VOICE['temperature']}, top_p {VOICE['top_p']}, top_k off, cfg {CFG_SCALE}\n")
    print("| engine | songs in flight | codes | s | codes/s | first code after s, median | of pt |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for engine, measured in flights.items():
        for flight, plain in zip(measured, flights["pt"], strict=True):
            first = statistics.median(song.first for song in flight.songs)
            print(f"| {engine} | {len(flight.songs)} | {flight.tokens} | {flight.seconds:.1f} | {flight.rate:.1f} "
                  f"| {first:.2f} | {flight.rate / plain.rate:.1f} |")
    print("\n" + "; ".join(notes))


def hardware() -> str:
    """The processor by name, its cores and the memory."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


if __name__ == "__main__":
    main()
