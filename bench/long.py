"""`--long`: the longest songs there are, and what each process of the stack holds before, during and after them."""

import tempfile
import time
from pathlib import Path
from typing import Any

import soundfile

from bench.memory import PeakMemory, shared_memory, usage
from bench.songs import make, order, tones
from embedded.stack_file import StackFile

SECONDS = 600.0
# The embedded base model is guided: two rows of every length in one call.
KINDS: dict[str, dict[str, Any]] = {
    "text2music": {},
    "text2music, guided": {"model": "acestep-tiny-base", "inference_steps": 3, "guidance_scale": 5.0},
    "cover": {"task_type": "cover"},
}
AFTER = 60.0
# What a process may hold a minute after the song, of what it held before.
RETURNED = 1.2


def measure_long(running: StackFile) -> None:
    """Prints time and memory of each kind of song; before all of them each kind is sung once for ten seconds."""
    with tempfile.TemporaryDirectory() as folder:
        short, long = _saved(Path(folder) / "short.wav", 10.0), _saved(Path(folder) / "long.wav", SECONDS)
        for name, fields in KINDS.items():
            make(running.api, order(10.0, **fields), short if name == "cover" else None)
        for name, fields in KINDS.items():
            before = usage(running.pid)
            with PeakMemory(running.pid, running.shm_prefix, interval=0.25) as memory:
                taken = make(running.api, order(SECONDS, **fields), long if name == "cover" else None)
            time.sleep(AFTER)
            after = usage(running.pid)
            print(f"\n{SECONDS:g} s {name}: {taken:.0f} s; {memory}, {shared_memory(running.shm_prefix):.0f} a minute "
                  "after\n\n| process (its own, MiB) | before | peak | a minute after | of before |")
            print("| --- | --- | --- | --- | --- |")
            for process, held in before.items():
                if process not in after:  # a worker process that has ended
                    continue
                now = after[process].own
                verdict = "" if now <= RETURNED * held.own else " KEPT"
                print(f"| {process} | {held.own:.0f} | {memory.processes[process]:.0f} | {now:.0f} | "
                      f"{now / held.own:.2f}{verdict} |", flush=True)


def _saved(file: Path, seconds: float) -> Path:
    """The file, with tones to upload."""
    soundfile.write(file, tones(seconds).T, 48_000, subtype="FLOAT")
    return file
