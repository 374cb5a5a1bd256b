"""What of an assembled model repository is loaded at start, and in what order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from embedded.refusal import Refusal
from frontend.catalogue import ENGINES, engines_of


@dataclass(frozen=True)
class ModelFolder:
    """One directory of the repository."""

    name: str
    path: Path
    ensemble: bool


def models(repository: Path) -> list[ModelFolder]:
    """The models to load at start: those that stand alone first, the ensembles made of them after."""
    found = [model for model in _all(repository) if model.name not in ENGINES.values()]
    return sorted(found, key=lambda model: (model.ensemble, model.name))


def late_models(repository: Path, backend: str) -> list[ModelFolder]:
    """The models to load when everything else is up, in order: the LM's, slow to start and not needed for a first song.

    `backend` is an engine's name, or `both`.
    """
    found = {model.name: model for model in _all(repository)}
    return [found[ENGINES[engine]] for engine in engines_of(backend) if ENGINES[engine] in found]


def _all(repository: Path) -> list[ModelFolder]:
    if not repository.is_dir():
        raise Refusal(f"no model repository at {repository}")
    found = []
    for path in repository.iterdir():
        config = path / "config.pbtxt"
        if config.is_file():
            text = config.read_text(encoding="utf-8")
            found.append(ModelFolder(path.name, path, re.search(r'^\s*platform:\s*"ensemble"', text, re.M) is not None))
    if not found:
        raise Refusal(f"the model repository {repository} holds no model")
    return found
