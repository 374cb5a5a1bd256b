"""Who still needs a stack that a song command has started."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


class Tenancy:
    """Held while a command uses the stack of a state directory; the kernel drops it when the command dies."""

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self._file = os.open(state / "tenants.lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_SH)  # waits while another command takes its stack down

    def be_the_last(self, waiting: Callable[[], None]) -> None:
        """Returns when no other command uses the stack, and keeps new ones out; calls `waiting` if it has to wait."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def end(self) -> None:
        os.close(self._file)
