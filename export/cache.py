"""Computed results on disk, each in a folder named by its digest; a folder that exists is complete."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_UNFINISHED = ".filling-"


@dataclass(frozen=True)
class Cache:
    """A directory of finished folders."""

    root: Path

    def find(self, key: str) -> Path | None:
        """The finished folder of a digest."""
        folder = self.root / key
        return folder if folder.is_dir() else None

    @contextmanager
    def filling(self, key: str) -> Iterator[Path]:
        """An empty folder to fill; it gets its name only when the block ends without an error."""
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.root))
        try:
            yield temporary
            temporary.chmod(0o755)  # mkdtemp makes it private, but a container may read it as another user
            self._finish(temporary, self.root / key)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def clear_unfinished(self) -> None:
        """Removes what runs that were killed have left; only while no other run is filling."""
        for folder in self.root.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _finish(temporary: Path, final: Path) -> None:
        try:
            temporary.rename(final)
        except OSError:
            if not final.is_dir():  # else: another run was first, with the same content
                raise


@contextmanager
def only_one(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds a lock file while the block runs; calls `waiting` once if another run holds it, then waits for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a large file; a copy where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
