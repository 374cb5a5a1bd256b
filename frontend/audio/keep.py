"""Files that belong to a job: on disk for good while it is there, deleted when it is gone."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

_ABANDONED_SECONDS = 3600


def sync(*paths: Path) -> None:
    """Put files on disk so that they survive a power cut; a new name does once its folder is synced, too."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def abandoned(folder: Path) -> list[str]:
    """Names of files that nobody has written to for an hour: their job knows them by now, or never will."""
    old = time.time() - _ABANDONED_SECONDS
    names = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < old:
                names.append(path.name)
    return names


def delete(folder: Path, names: Iterable[str]) -> None:
    """Delete files of `folder`; those that are gone already do not matter."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
