"""The stub processes of a running server: one per instance of every Python-served model."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

STUB = "triton_python_backend_stub"


@dataclass(frozen=True)
class StubProcess:
    """One living stub: `model` is its model's name, `file` the model's file it serves (model.py, model.onnx)."""

    pid: int
    model: str
    file: Path


def running(server: int) -> list[StubProcess]:
    """The stubs whose parent is the server with this pid; a dead one that is not yet collected is not among them.

    A stub's command line is: binary, `<repository>/<model>/<version>/<file>`, shared-memory name and sizes, ...
    """
    found = []
    for pid in _children(server):
        with contextlib.suppress(OSError):
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if len(argv) > 2 and os.path.basename(argv[0]).decode() == STUB:
                file = Path(os.fsdecode(argv[1]))
                found.append(StubProcess(pid, file.parent.parent.name, file))
    return found


def _children(pid: int) -> list[int]:
    """Children of every thread of a process: the kernel lists them by the thread that forked."""
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.scandir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                children += map(int, Path(task.path, "children").read_text().split())
    return children


def counts(stubs: list[StubProcess]) -> Counter[str]:
    """Living stubs per model."""
    return Counter(stub.model for stub in stubs)


def kill(stubs: list[StubProcess], model: str) -> None:
    """Kill what is left of a model's stubs: a hung one would hold up the old instance's unloading."""
    for stub in stubs:
        if stub.model == model:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stub.pid, signal.SIGKILL)
