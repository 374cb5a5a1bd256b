"""Who owns a process or a shared-memory file: the state directory it was started for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

MARK = "ACESTEP_STACK"


@dataclass(frozen=True)
class Identity:
    """One stack on this machine: all it starts carries `mark`, its shared-memory files begin with `shm_prefix`.

    Derived from the state directory's real path: the next launcher of the same directory finds what a killed one left.
    """

    state: Path
    id: str

    @classmethod
    def of(cls, state: Path) -> Identity:
        real = state.resolve()
        return cls(real, hashlib.sha256(str(real).encode()).hexdigest()[:12])

    @property
    def shm_prefix(self) -> str:
        return f"acestep_{self.id}_"

    @property
    def mark(self) -> tuple[str, str]:
        """Environment variable that every descendant inherits."""
        return MARK, self.id
