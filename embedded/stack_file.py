"""`stack.json`: where a running stack answers, for everyone on this machine who looks for it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "stack.json"


@dataclass(frozen=True)
class StackFile:
    """Written when everything is ready, removed at stop; addresses are host:port, `api` and `chat` URLs."""

    pid: int
    api: str
    chat: str
    triton_http: str
    triton_grpc: str
    triton_metrics: str
    repository: str
    shm_prefix: str

    def write(self, state: Path) -> None:
        """Atomically: a reader sees the whole file or none."""
        work = state / f".{NAME}.{os.getpid()}"
        work.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        work.replace(state / NAME)


def read(state: Path) -> StackFile | None:
    """The running stack of a state directory; None if there is none (a file of a killed launcher does not count)."""
    try:
        found = StackFile(**json.loads((state / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if _is_launcher(found.pid) else None


def remove(state: Path) -> None:
    (state / NAME).unlink(missing_ok=True)


def _is_launcher(pid: int) -> bool:
    try:
        return b"embedded" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
