"""`--soak`: short songs by the thousand, and the memory of every process of the stack after each two hundred."""

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from bench.memory import Usage, shared_memory, usage
from bench.songs import make, order
from embedded.stack_file import StackFile

CLIENTS = 5
EVERY = 200
SECONDS = 10.0
SETTLED = 5.0  # seconds after the last song of a round: connections end and retention deletes meanwhile
# A line of at most this slope is flat: a heap moves by 4 MiB up and down from one reading to the next, and a leak of
# one response's samples in a hundred songs is seen.
FLAT = 10.0  # MiB per 1,000 songs


@dataclass(frozen=True)
class Reading:
    """The memory of every process, by name, when `songs` songs had been made and none was in flight."""

    songs: int
    seconds: float
    shared: float
    processes: dict[str, Usage]


def measure_soak(running: StackFile, songs: int) -> None:
    """Prints PSS and RSS of every process by number of songs, a verdict for each, and all of it as one line of JSON."""
    begin = time.monotonic()
    readings: list[Reading] = []
    with ThreadPoolExecutor(CLIENTS) as clients:
        for made in range(0, songs + 1, EVERY):
            if made:
                bodies = [order(SECONDS, inference_steps=1, seed=made + i) for i in range(EVERY)]
                for _ in clients.map(lambda body: make(running.api, body, wait=0.05), bodies):
                    pass
            time.sleep(SETTLED)
            readings.append(Reading(
                made, time.monotonic() - begin, shared_memory(running.shm_prefix), usage(running.pid)))
            print(f"soak: {made} songs after {readings[-1].seconds:.0f} s", flush=True)
    report(readings)


def slope(points: list[tuple[float, float]]) -> float:
    """The least-squares slope of (songs, MiB), in MiB per 1,000 songs."""
    return 1000 * statistics.linear_regression(*zip(*points, strict=True)).slope


def slopes(readings: list[Reading]) -> dict[str, float]:
    """MiB per 1,000 songs of each process over the last half, when caches are full and pools have grown.

    Of a process's own memory: the proportional part of what it shares depends on how many others run.
    """
    last = readings[len(readings) // 2 :]
    lasting = [name for name in last[0].processes if all(name in reading.processes for reading in last)]
    found = {name: slope([(reading.songs, reading.processes[name].own) for reading in last]) for name in lasting}
    return found | {"shared memory": slope([(reading.songs, reading.shared) for reading in last])}


def report(readings: list[Reading]) -> None:
    """Two tables, the verdicts, the JSON."""
    names = list(readings[0].processes)
    for title, field in (("PSS", "pss"), ("RSS", "rss")):
        print(f"\n{title}, MiB, after so many songs of {SECONDS:g} s by {CLIENTS} clients, none in flight\n")
        print(f"| process | {' | '.join(str(reading.songs) for reading in readings)} |")
        print("| --- |" + " --- |" * len(readings))
        for name in names:
            cells = [f"{getattr(r.processes[name], field):.0f}" if name in r.processes else "-" for r in readings]
            print(f"| {name} | {' | '.join(cells)} |")
    print(f"| shared memory | {' | '.join(f'{reading.shared:.0f}' for reading in readings)} |")
    found = slopes(readings)
    print(f"\nMiB of its own memory per 1,000 songs over the last half; flat: at most {FLAT:g}\n")
    for name, value in found.items():
        print(f"- {name}: {value:+.1f}, {'flat' if value <= FLAT else 'GROWS'}")
    print(f"\n{json.dumps({'flat': FLAT, 'slopes': found, 'readings': [asdict(reading) for reading in readings]})}")
