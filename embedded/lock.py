"""One launcher per state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from embedded.refusal import Refusal


class StateLock:
    """Held for the life of the launcher; the kernel drops it when the launcher dies, however it dies."""

    def __init__(self, state: Path) -> None:
        try:
            state.mkdir(parents=True, exist_ok=True)
            self._file = os.open(state / "launcher.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Refusal(f"cannot use the state directory {state} ({error.strerror}): set ACESTEP_TMPDIR") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._file, 20).decode() or "unknown"
            os.close(self._file)
            raise Refusal(f"a stack is already running on {state} (launcher pid {owner}): stop it, "
                          "or set another ACESTEP_TMPDIR and other ports") from None
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())

    def release(self) -> None:
        os.close(self._file)
