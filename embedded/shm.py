"""Shared-memory files of Triton's Python stubs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

DIRECTORY = Path("/dev/shm")
MIB = 1 << 20


def files(prefix: str) -> list[Path]:
    """This stack's files, oldest name first."""
    if not DIRECTORY.is_dir():
        return []
    return sorted(path for path in DIRECTORY.iterdir() if path.name.startswith(prefix))


def mapped(prefix: str) -> set[str]:
    """Names of files with that prefix that some process of ours still has mapped."""
    names: set[str] = set()
    start = f"{DIRECTORY}/{prefix}"
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{entry.name}/maps", encoding="utf-8", errors="replace") as maps:
            names.update(os.path.basename(line.split()[5]) for line in maps if start in line)
    return names


def clean(prefix: str) -> list[str]:
    """Delete every file with that prefix that no process maps; returns the names deleted."""
    candidates = files(prefix)
    if not candidates:
        return []
    used = mapped(prefix)
    gone = []
    for path in candidates:
        if path.name not in used:
            with contextlib.suppress(OSError):
                path.unlink()
                gone.append(path.name)
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
