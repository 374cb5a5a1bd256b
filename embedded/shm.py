"""Shared-memory files: those of Triton's Python stubs, by their prefix, and those of vLLM, by who has them mapped."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

DIRECTORY = Path("/dev/shm")
MIB = 1 << 20


def files(prefix: str) -> list[Path]:
    """This stack's files, oldest name first."""
    if not DIRECTORY.is_dir():
        return []
    return sorted(path for path in DIRECTORY.iterdir() if path.name.startswith(prefix))


def mapped(pids: Iterable[int]) -> set[str]:
    """Names of the files that these processes have mapped; of another user's process nothing is known."""
    names: set[str] = set()
    start = f"{DIRECTORY}/"
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
            names.update(line.split()[5].removeprefix(start) for line in maps if start in line)
    return names


def clean(prefix: str) -> list[str]:
    """Delete every file with that prefix that no process maps; returns the names deleted."""
    return delete_unused(path.name for path in files(prefix))


def delete_unused(names: Iterable[str]) -> list[str]:
    """Delete those of these files that no process maps; returns their names."""
    candidates = list(names)
    used = mapped(int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()) if candidates else set()
    gone = []
    for name in candidates:
        if name not in used:
            with contextlib.suppress(OSError):
                (DIRECTORY / name).unlink()
                gone.append(name)
    return gone


def free_bytes() -> int:
    """Free space of the shared-memory file system; 0 where there is none."""
    try:
        stat = os.statvfs(DIRECTORY)
    except OSError:
        return 0
    return stat.f_bavail * stat.f_frsize


def region_bytes() -> int:
    """Initial size of one stub's region: 8 MiB; 1 MiB where shared memory is scarce (64 MiB is Docker's default)."""
    return 8 * MIB if free_bytes() > 512 * MIB else MIB
