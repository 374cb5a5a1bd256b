"""Processes that a killed launcher, a killed Triton or a killed stub left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from embedded import shm
from embedded.identity import Identity

TRACKER_GRACE = 2.0  # seconds


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


def strays(identity: Identity) -> list[int]:
    """Marked processes that do not descend from this one any more: the engine of a stub that was killed."""
    return [pid for pid in marked(identity) if os.getpid() not in _ancestors(pid) and not _is_tracker(pid)]


def group(leader: int) -> list[int]:
    """Pids of the living processes of a process group."""
    found = []
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(_stat(entry.path)[2]) == leader and not _zombie(entry.path):
                found.append(int(entry.name))
    return found


def reap(identity: Identity, timeout: float = 5.0) -> list[int]:
    """Kill every marked process until none is left; returns their pids. They are ours alone and past saving."""
    return end(lambda: marked(identity), timeout)


def end(find: Callable[[], list[int]], timeout: float = 5.0) -> list[int]:
    """Kill what `find` finds until it finds nothing, and delete its shared memory; returns the pids that were found.

    A tracker of Python's multiprocessing deletes what processes left that died before, then ends by itself: it gets a
    moment for that.
    """
    found: list[int] = []
    memory: set[str] = set()
    deadline = time.monotonic() + timeout
    spared_until = time.monotonic() + TRACKER_GRACE
    while (pids := find()) and time.monotonic() < deadline:
        found += [pid for pid in pids if pid not in found]
        doomed = [pid for pid in pids if not _is_tracker(pid)]
        memory |= shm.mapped(doomed)
        if doomed:
            spared_until = time.monotonic() + TRACKER_GRACE
        for pid in doomed if doomed or time.monotonic() < spared_until else pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    shm.delete_unused(memory)
    return found


def _stat(directory: str) -> list[str]:
    """What follows a process's name in its stat: state, parent, group, ..."""
    return Path(directory, "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _zombie(directory: str) -> bool:
    return _stat(directory)[0] in ("Z", "X")


def _ancestors(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        while pid > 1:
            pid = int(_stat(f"/proc/{pid}")[1])
            found.append(pid)
    return found


def _is_tracker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
