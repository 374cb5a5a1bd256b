"""Memory of a process and all its children, sampled in a thread."""

import contextlib
import threading
import time
from pathlib import Path

import psutil


class PeakMemory:
    """Peak of the summed proportional set size (shared pages counted once), in MiB by kind of process.

    `shared` is the peak of what the stack's own regions hold of /dev/shm.
    """

    def __init__(self, root: int, shm_prefix: str, interval: float = 0.5) -> None:
        self._root = psutil.Process(root)
        self._shm_prefix = shm_prefix
        self.shared = 0.0
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peaks: dict[str, float] = {}

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.is_set():
            sums: dict[str, float] = {"all": 0.0}
            for process in (self._root, *self._root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    kind = _kind(process.cmdline())
                    share = process.memory_full_info().pss / 2**20
                    sums["all"] += share
                    sums[kind] = sums.get(kind, 0.0) + share
            regions = [region.stat().st_blocks * 512 for region in Path("/dev/shm").glob(f"{self._shm_prefix}*")]
            self.shared = max(self.shared, sum(regions) / 2**20)
            for kind, value in sums.items():
                self.peaks[kind] = max(self.peaks.get(kind, 0.0), value)
            time.sleep(self._interval)

    def __str__(self) -> str:
        by_kind = ", ".join(f"{kind} {value:.0f}" for kind, value in sorted(self.peaks.items()))
        return f"peak memory (PSS, MiB): {by_kind}; shared memory {self.shared:.0f}"


def _kind(command: list[str]) -> str:
    text = " ".join(command)
    if "triton_python_backend_stub" in text:
        return "stub acestep" if "/acestep/" in text else "stubs of ONNX models"
    for word in ("tritonserver", "frontend"):
        if word in text:
            return word
    return "launcher"
