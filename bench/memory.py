"""Memory of a process and all its children, sampled in a thread."""

import contextlib
import threading
import time

import psutil


class PeakMemory:
    """Peak of the summed proportional set size (shared pages counted once), in MiB by kind of process."""

    def __init__(self, root: int, interval: float = 0.5) -> None:
        self._root = psutil.Process(root)
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
            for kind, value in sums.items():
                self.peaks[kind] = max(self.peaks.get(kind, 0.0), value)
            time.sleep(self._interval)


def _kind(command: list[str]) -> str:
    text = " ".join(command)
    if "triton_python_backend_stub" in text:
        return "stub acestep" if "/acestep/" in text else "stubs of ONNX models"
    for word in ("tritonserver", "frontend"):
        if word in text:
            return word
    return "launcher"
