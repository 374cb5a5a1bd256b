"""Memory of a process and all its children: by process at one moment, and its peaks sampled in a thread."""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from embedded.stubs import STUB

MIB = 2**20


@dataclass(frozen=True)
class Usage:
    """One process: its resident, its proportional (shared pages split among their users) and its own memory, in MiB.

    `own` is what nobody shares and no file backs: heap, stacks, memory maps of allocators.
    """

    rss: float
    pss: float
    own: float


def usage(root: int) -> dict[str, Usage]:
    """Every process below `root` and itself, by name: `acestep`, `vae_decoder`, ... are the stubs of these models."""
    found: dict[str, Usage] = {}
    for process in _tree(root):
        with contextlib.suppress(psutil.Error, OSError):
            pages = _smaps(process.pid)
            name = _name(process.cmdline())
            if name in found:
                name = f"{name} {process.pid}"
            found[name] = Usage(pages["Rss"] / 1024, pages["Pss"] / 1024, pages["Anonymous"] / 1024)
    return found


def shared_memory(prefix: str) -> float:
    """MiB that the stack's own regions hold of /dev/shm."""
    blocks = 0
    for region in Path("/dev/shm").glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            blocks += region.stat().st_blocks
    return blocks * 512 / MIB


class PeakMemory:
    """Peak of the summed proportional set size (shared pages counted once), in MiB, of all and by kind.

    `processes` are the peaks of what each process has to itself; `shared` is the peak of what the stack's own regions
    hold of /dev/shm.
    """

    def __init__(self, root: int, shm_prefix: str, interval: float = 0.5) -> None:
        self._root = root
        self._shm_prefix = shm_prefix
        self.shared = 0.0
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peaks: dict[str, float] = {}
        self.processes: dict[str, float] = {}

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.is_set():
            sums: defaultdict[str, float] = defaultdict(float)
            for name, used in usage(self._root).items():
                sums["all"] += used.pss
                sums[_kind(name)] += used.pss
                self.processes[name] = max(self.processes.get(name, 0.0), used.own)
            self.shared = max(self.shared, shared_memory(self._shm_prefix))
            for kind, value in sums.items():
                self.peaks[kind] = max(self.peaks.get(kind, 0.0), value)
            time.sleep(self._interval)

    def __str__(self) -> str:
        by_kind = ", ".join(f"{kind} {value:.0f}" for kind, value in sorted(self.peaks.items()))
        return f"peak memory (PSS, MiB): {by_kind}; shared memory {self.shared:.0f}"


def _tree(root: int) -> Iterator[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(root)
        yield process
        yield from process.children(recursive=True)


def _smaps(pid: int) -> dict[str, int]:
    """KiB by kind of page, of all mappings together."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    return {name.removesuffix(":"): int(value) for name, value, *_ in map(str.split, lines)}


def _name(command: list[str]) -> str:
    if command and Path(command[0]).name == STUB:
        return Path(command[1]).parent.parent.name
    text = " ".join(command)
    return next((word for word in ("tritonserver", "frontend") if word in text), "launcher")


def _kind(name: str) -> str:
    if name == "acestep":
        return "stub acestep"
    first = name.split()[0]
    return first if first in ("tritonserver", "frontend", "launcher") else "stubs of ONNX models"
