"""What decides whether something must be built again: digests of files and sources. Imports nothing heavy."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
_LENGTH = 16


def digest(*values: Any) -> str:
    """Short hexadecimal digest of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:_LENGTH]


def stamps(files: Iterable[Path]) -> list[list[Any]]:
    """Path, size and modification time of each file: enough to notice a changed checkpoint of many gigabytes."""
    found = []
    for path in sorted(files):
        status = path.stat()
        found.append([str(path.resolve()), status.st_size, status.st_mtime_ns])
    return found


def contents(files: Iterable[Path], root: Path) -> list[list[str]]:
    """Relative path and content digest of each file, for files that are small."""
    return [[path.relative_to(root).as_posix(), sha256(path)] for path in sorted(files)]


def sources(names: Iterable[str]) -> list[list[str]]:
    """Contents of this package's own files."""
    return contents((PACKAGE / name for name in names), PACKAGE)


def sha256(*paths: Path) -> str:
    """SHA-256 of the files' contents, one after another, hexadecimal."""
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def tree(root: Path) -> list[Path]:
    """Every file below root that belongs to a model repository (no caches, no hidden files)."""
    files = (path for path in root.rglob("*") if path.is_file())
    return sorted(path for path in files if not _ignored(path.relative_to(root)))


def _ignored(path: Path) -> bool:
    return any(part == "__pycache__" or part.startswith(".") for part in path.parts)
