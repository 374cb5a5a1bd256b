"""The server's directory tree: what the pytriton wheel holds, arranged the way `tritonserver` wants it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from embedded.interpreter import libpython_folder, minor
from embedded.refusal import Refusal

PACKAGE = "nvidia-pytriton"
OUR_BACKENDS = Path(__file__).with_name("backends")


@dataclass(frozen=True)
class TritonTree:
    """Paths of one assembled server: binary, stub, backend and cache directories, library search path (in order)."""

    server: Path
    stub: Path
    backends: Path
    caches: Path
    libraries: tuple[Path, ...]


def wheel() -> Path:
    """Folder of the server inside the installed wheel; nothing of the package is imported."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise Refusal(f"the package {PACKAGE} is missing in {sys.prefix}: install requirements.lock")
    return Path(spec.origin).parent / "tritonserver"


def assemble(build: Path) -> TritonTree:
    """Make (once) the backend directory below `build`/triton and return the tree.

    Triton refuses a backend library outside its backend directory, also through a symbolic link, so files are copied.
    The folder's name is a digest of its sources: a changed backend gets a new folder, a running server keeps its own.
    """
    source = wheel()
    stub = source / "python_backend_stubs" / minor() / "triton_python_backend_stub"
    if not stub.is_file():
        raise Refusal(f"{PACKAGE} has no stub for Python {minor()}: use Python 3.11 or 3.12")
    ours = sorted(path for path in OUR_BACKENDS.rglob("*.py"))
    digest = hashlib.sha256(f"{importlib.metadata.version(PACKAGE)} {minor()} {source}".encode())
    for path in ours:
        digest.update(str(path.relative_to(OUR_BACKENDS)).encode() + b"\0" + path.read_bytes())
    backends = build.resolve() / "triton" / digest.hexdigest()[:12]
    if not backends.is_dir():
        try:
            _fill(backends, source, stub, ours)
        except OSError as error:
            raise Refusal(f"cannot write to the build folder {build} ({error.strerror}): set ACESTEP_BUILD") from None
    folder = libpython_folder()
    libraries = (source.parent.parent / "nvidia_pytriton.libs",)
    return TritonTree(
        server=source / "bin" / "tritonserver",
        stub=backends / "python" / stub.name,
        backends=backends,
        caches=source / "caches",
        libraries=(Path(folder), *libraries) if folder else libraries,
    )


def _fill(backends: Path, source: Path, stub: Path, ours: list[Path]) -> None:
    backends.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".making-", dir=backends.parent))
    try:
        python = work / "python"
        python.mkdir()
        for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
            shutil.copy2(source / "backends" / "python" / name, python)
        shutil.copy2(stub, python)
        (python / stub.name).chmod(0o755)
        for path in ours:
            target = work / path.relative_to(OUR_BACKENDS)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        work.chmod(0o755)
        try:
            os.rename(work, backends)
        except OSError:
            if not backends.is_dir():  # else another launcher made the same one first
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
