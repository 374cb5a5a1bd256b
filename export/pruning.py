"""Removes what earlier exports have built and nobody uses any more."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from .cache import Cache
from .in_use import users

KEPT = 3
KEPT_SECONDS = 7 * 86_400.0


def note(repository: Path, graphs: Iterable[str]) -> None:
    """Writes down which graphs a repository is made of, and that it is used now (the folder's modification time)."""
    text = json.dumps(sorted(graphs))
    path = _note(repository)
    with contextlib.suppress(PermissionError):  # another user's build folder is served all the same
        if not path.is_file() or path.read_text() != text:
            work = path.with_suffix(".new")
            work.write_text(text)
            work.replace(path)
        os.utime(repository)


def prune(repositories: Cache, graphs: Cache) -> None:
    """Removes repositories and graphs; only under the export's lock.

    Kept: the three repositories used last, those used within seven days, those that a process works with, and every
    graph of these or as young. An older repository that nothing is noted of keeps all graphs until it goes itself.
    """
    limit = time.time() - KEPT_SECONDS
    needed: set[str] = set()
    complete = True
    for place, folder in enumerate(sorted(_folders(repositories), key=_used, reverse=True)):
        if place >= KEPT and _used(folder) < limit and not users(folder):
            shutil.rmtree(folder, ignore_errors=True)
            _note(folder).unlink(missing_ok=True)
        elif _note(folder).is_file():
            needed.update(json.loads(_note(folder).read_text()))
        else:
            complete = False
    for folder in _folders(graphs):
        if complete and folder.name not in needed and _used(folder) < limit:
            shutil.rmtree(folder, ignore_errors=True)


def _note(repository: Path) -> Path:
    """A file beside the repository: what Triton serves holds nothing but models."""
    return repository.with_name(f".{repository.name}.json")


def _folders(cache: Cache) -> list[Path]:
    return [path for path in cache.root.glob("[!.]*") if path.is_dir()]


def _used(folder: Path) -> float:
    return folder.stat().st_mtime
