"""The whole export: embedded checkpoint if none is given, missing artifacts, assembled repository."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import artifacts
from .cache import Cache, only_one
from .digests import digest, sha256, sources
from .language_model import LanguageModel
from .layout import Checkpoints
from .lm_engines import LmEngines
from .pruning import note, prune
from .repository import Repository

EMBEDDED_MODELS = ("acestep-tiny-turbo", "acestep-tiny-base")
MODEL_REPOSITORY = Path(__file__).parent.parent / "model_repository"
_TINY_RECIPE = (
    "tiny_checkpoint.py",
    "tiny_weights.py",
    "tiny_tokenizer.py",
    "tiny_lm.py",
    "tiny_lm_tokenizer.py",
    "oobleck.py",
)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to export. checkpoints None: the embedded one. models (): the embedded two, or all that are found.

    lm: a folder's name or "none"; None: the documents' default or the only one. lm_duration_max, lm_device: LmEngines.
    """

    build: Path
    checkpoints: Path | None = None
    models: tuple[str, ...] = ()
    precision: str = "fp32"
    lm: str | None = None
    lm_duration_max: int | None = None
    lm_device: str = "auto"


def export(request: Request, progress: Progress) -> Path:
    """Absolute path of the assembled repository; makes only what is missing. Raises ExportError."""
    with only_one(request.build / "export.lock", lambda: progress("waits for another export")):
        return _export(request, progress)


def _export(request: Request, progress: Progress) -> Path:
    graphs, repositories = Cache(request.build / "graphs"), Cache(request.build / "repository")
    for cache in (graphs, repositories, Cache(request.build / "checkpoints")):
        cache.clear_unfinished()
    chosen = _checkpoints(request, progress)
    wanted = tuple(artifacts.all_of(chosen))
    lm = LanguageModel.choose(chosen.root, request.lm, progress)
    repository = Repository(
        checkpoints=chosen,
        artifacts=wanted,
        precision=request.precision,
        embedded=request.checkpoints is None,
        sources=MODEL_REPOSITORY,
        lm=None if lm is None else _engines(lm, request),
    )
    key = repository.digest()
    found = repositories.find(key)
    if found is None:
        if lm is not None:
            lm.check()  # before minutes go into the graphs
        _compute(chosen, wanted, graphs, progress)
        started = time.monotonic()
        with repositories.filling(key) as folder:
            repository.assemble(folder, graphs)
        progress(f"repository {time.monotonic() - started:.1f} s")
        found = repositories.root / key
    note(found, (artifact.digest() for artifact in wanted))
    prune(repositories, graphs)
    return found.resolve()


def _engines(lm: LanguageModel, request: Request) -> LmEngines:
    return LmEngines(lm, request.precision, request.lm_duration_max, request.lm_device, MODEL_REPOSITORY)


def _checkpoints(request: Request, progress: Progress) -> Checkpoints:
    if request.checkpoints is None:
        root = request.build / "checkpoints" / "tiny"
        _ensure_tiny(root, progress)
        chosen = Checkpoints.choose(root, request.models or EMBEDDED_MODELS)
    else:
        chosen = Checkpoints.choose(request.checkpoints, request.models)
    chosen.check()
    return chosen


def _compute(chosen: Checkpoints, wanted: tuple[artifacts.Artifact, ...], graphs: Cache, progress: Progress) -> None:
    missing = [artifact for artifact in wanted if graphs.find(artifact.digest()) is None]
    if not missing:
        return
    started = time.monotonic()
    from .compute import compute  # torch: only when there is something to compute

    progress(f"libraries {time.monotonic() - started:.1f} s")
    for name, seconds in compute(chosen, missing, graphs):
        progress(f"{name} {seconds:.1f} s")


def _ensure_tiny(root: Path, progress: Progress) -> None:
    """Makes the embedded checkpoint, unless this recipe has made it and its files are still whole."""
    recipe = digest(sources(_TINY_RECIPE))
    note = root / "recipe.json"
    if note.is_file() and json.loads(note.read_text()) == {"recipe": recipe, "files": _sizes(root)}:
        return
    started = time.monotonic()
    from .compute import make_tiny_checkpoint

    with Cache(root.parent).filling(root.name) as folder:
        make_tiny_checkpoint(folder)
        _keep_times(root, folder)
        if root.exists():
            shutil.rmtree(root)
        (folder / "recipe.json").write_text(json.dumps({"recipe": recipe, "files": _sizes(folder)}, indent=2) + "\n")
    progress(f"embedded checkpoint {time.monotonic() - started:.1f} s")


def _keep_times(old: Path, new: Path) -> None:
    """A file that came out as it was keeps its time, so that the graphs made of it stay."""
    for path in new.rglob("*"):
        before = old / path.relative_to(new)
        if path.is_file() and before.is_file() and sha256(before) == sha256(path):
            shutil.copystat(before, path)


def _sizes(root: Path) -> dict[str, int]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "recipe.json")
    return {path.relative_to(root).as_posix(): path.stat().st_size for path in files}
