"""One launcher per state directory."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from embedded.refusal import Refusal

NAME = "launcher.lock"
TAKEN = 3  # exit code of a launcher that came too late
PATIENCE = 0.3  # seconds; `holder` holds the lock for an instant


class StateLock:
    """Held for the life of the launcher; the kernel drops it when the launcher dies, however it dies."""

    def __init__(self, state: Path) -> None:
        try:
            state.mkdir(parents=True, exist_ok=True)
            self._file = os.open(state / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Refusal(f"cannot use the state directory {state} ({error.strerror}): set ACESTEP_TMPDIR") from None
        deadline = time.monotonic() + PATIENCE
        while not _locked(self._file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                owner = _owner(self._file)
                os.close(self._file)
                raise Refusal(f"a stack is already running on {state} (launcher pid {owner}): stop it, "
                              "or set another ACESTEP_TMPDIR and other ports", TAKEN)
            time.sleep(0.02)
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())

    def release(self) -> None:
        os.close(self._file)


def holder(state: Path) -> str | None:
    """Pid of the launcher that runs or starts on a state directory; None if there is none."""
    try:
        file = os.open(state / NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _locked(file, fcntl.LOCK_SH) else _owner(file)
    finally:
        os.close(file)


def _locked(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(file: int) -> str:
    return os.pread(file, 20, 0).decode() or "unknown"
