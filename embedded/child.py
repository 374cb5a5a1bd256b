"""A process group that the launcher owns."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedded.identity import MARK, Identity

LEASH = Path(__file__).with_name("leash.py")
KEPT_LOGS = 3


@dataclass(frozen=True)
class ChildSpec:
    """What to run: `argv` begins with an absolute path; `log` takes the output, only stderr if stdout is `piped`."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    cwd: Path | None = None
    piped: bool = False


class Child:
    """One running command in a session of its own, on a leash to this process; marked if it is part of a stack."""

    def __init__(self, spec: ChildSpec, identity: Identity | None) -> None:
        self.spec = spec
        env = {name: value for name, value in spec.env.items() if name != MARK}
        if identity:
            variable, value = identity.mark
            env[variable] = value
        argv = [sys.executable, "-I", "-S", str(LEASH), str(int(signal.SIGTERM)), str(os.getpid()), *spec.argv]
        with _fresh(spec.log).open("wb") as out:
            self.process = subprocess.Popen(
                argv, env=env, cwd=spec.cwd, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if spec.piped else out, stderr=out, start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """None while the leader of the group runs."""
        return self.process.poll()

    def signal(self, number: int) -> None:
        """Signal the leader alone: it knows how to end its own children."""
        if self.exit_code is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill the whole group, also what is left of it after the leader died."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)

    def terminate(self, grace: float) -> None:
        """SIGTERM and up to `grace` seconds for an orderly end."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace
        while self.exit_code is None and time.monotonic() < deadline:
            time.sleep(0.02)

    def stop(self, grace: float) -> None:
        """SIGTERM, up to `grace` seconds for an orderly end, then SIGKILL for the group."""
        self.terminate(grace)
        self.kill()


def _fresh(log: Path) -> Path:
    """The log's path with earlier logs moved to .1, .2, ...: a restart must not wipe what explains it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    for number in range(KEPT_LOGS - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number - 1}") if number > 1 else log
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number}"))
    return log
