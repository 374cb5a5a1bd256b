"""The repository of the embedded checkpoint, as `python -m export` makes it; shared by the export's tests."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("ACESTEP_BUILD", ROOT / "build"))
TINY = BUILD / "checkpoints" / "tiny"
TURBO = "acestep-tiny-turbo"
BASE = "acestep-tiny-base"


def run_export(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m export` with these arguments, finished."""
    command = [sys.executable, "-m", "export", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@cache
def repository() -> Path:
    """The assembled repository; exported only when the checkout has none that is current."""
    done = run_export("--build", BUILD)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1].removeprefix("repository: "))
