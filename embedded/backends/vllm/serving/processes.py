"""The processes that vLLM starts below this one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time


def below(pid: int) -> list[int]:
    """Every living descendant but multiprocessing's own trackers: they end last, by themselves, and clean up."""
    found = []
    for child in _children(pid):
        if not _is_tracker(child):
            found += [child, *below(child)]
    return found


def _children(pid: int) -> list[int]:
    """Children of every thread of a process: the kernel lists them by the thread that forked."""
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.scandir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"{task.path}/children", encoding="ascii") as file:
                children += map(int, file.read().split())
    return children


def _is_tracker(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"resource_tracker" in file.read()
    except OSError:
        return True  # gone


def wait_for_a_death(pids: list[int]) -> int:
    """Blocks until one of the processes has ended; its pid."""
    poll = select.poll()
    files = {}
    try:
        for pid in pids:
            try:
                files[os.pidfd_open(pid)] = pid
            except ProcessLookupError:
                return pid
        for file in files:
            poll.register(file, select.POLLIN)
        return files[poll.poll()[0][0]]
    finally:
        for file in files:
            os.close(file)


def kill_below(pid: int, timeout: float) -> None:
    """Kills the descendants, then waits until they are gone."""
    deadline = time.monotonic() + timeout
    while (pids := [each for each in below(pid) if not _is_dead(each)]) and time.monotonic() < deadline:
        for each in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        time.sleep(0.01)


def _is_dead(pid: int) -> bool:
    """Gone, or dead and not yet collected by its parent."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True
