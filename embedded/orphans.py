"""Processes that a killed launcher or a killed Triton left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from embedded.identity import Identity


def marked(identity: Identity) -> list[int]:
    """Pids of living processes whose environment carries this stack's mark; the caller itself is never among them."""
    variable, value = identity.mark
    needle = f"{variable}={value}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # another user's, or gone meanwhile
            if needle in Path(entry.path, "environ").read_bytes().split(b"\0") and not _zombie(entry.path):
                found.append(int(entry.name))
    return found


def _zombie(directory: str) -> bool:
    state = Path(directory, "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    return state in ("Z", "X")


def reap(identity: Identity, timeout: float = 5.0) -> list[int]:
    """Kill every marked process until none is left; returns their pids. They are ours alone and past saving."""
    killed: list[int] = []
    deadline = time.monotonic() + timeout
    while (pids := marked(identity)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed += [pid for pid in pids if pid not in killed]
        time.sleep(0.05)
    return killed
