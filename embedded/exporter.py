"""The export as a child process: a checkpoint goes in, the path of an assembled repository comes out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from embedded.child import Child, ChildSpec
from embedded.identity import Identity
from embedded.refusal import Refusal
from frontend.settings import Settings

RESULT = "repository: "
SOURCE_ROOT = Path(__file__).resolve().parent.parent


def arguments(settings: Settings) -> list[str]:
    """Arguments of `python -m export` for these settings; Refusal if the checkpoint folder does not exist."""
    result = ["--precision", settings.precision, "--build", str(settings.build.absolute())]
    if settings.checkpoints is not None:
        if not settings.checkpoints.is_dir():
            raise Refusal(f"CHECKPOINTS: there is no folder {settings.checkpoints.absolute()}")
        result += ["--checkpoints", str(settings.checkpoints.absolute())]
    if names := [name for name in (settings.model, settings.model2, settings.model3) if name]:
        result += ["--models", ",".join(names)]
    if settings.lm is not None:
        result += ["--lm", settings.lm]
    if settings.lm_duration_max is not None:
        result += ["--lm-duration-max", str(settings.lm_duration_max)]
    if settings.lm_device != "auto":
        result += ["--lm-device", settings.lm_device]
    return result


def become(settings: Settings) -> NoReturn:
    """Replaces this process by the export alone."""
    env = {**os.environ, "PYTHONPATH": str(SOURCE_ROOT), "PYTHONUNBUFFERED": "1"}
    os.execve(sys.executable, [sys.executable, "-m", "export", *arguments(settings)], env)


def run(settings: Settings, identity: Identity, say: Callable[[str], None]) -> Path:
    """Runs the export, passing its progress lines to `say`; Refusal with its own one line if it fails."""
    log = identity.state / "logs" / "export.log"
    env = {**os.environ, "PYTHONPATH": str(SOURCE_ROOT), "PYTHONUNBUFFERED": "1"}
    argv = [sys.executable, "-m", "export", *arguments(settings)]
    child = Child(ChildSpec("export", argv, env, log, piped=True), identity)
    repository = None
    try:
        assert child.process.stdout is not None
        for raw in child.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            if line.startswith(RESULT):
                repository = Path(line.removeprefix(RESULT))
            elif line:
                say(line)
        code = child.process.wait()
    finally:
        child.kill()
    if code != 0 or repository is None:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        said = [line for line in lines if line.startswith("export: ")] or lines or [f"ended with code {code}"]
        raise Refusal(said[-1], exit_code=code or 1)
    return repository
