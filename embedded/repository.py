"""What of an assembled model repository is loaded at start, and in what order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from embedded.refusal import Refusal

LOADED_LAST = frozenset({"lm", "lm_pt"})  # slow to start and not needed for a first song


@dataclass(frozen=True)
class ModelFolder:
    """One directory of the repository."""

    name: str
    path: Path
    ensemble: bool


def models(repository: Path) -> list[ModelFolder]:
    """The models to load at start: those that stand alone first, the ensembles made of them after."""
    if not repository.is_dir():
        raise Refusal(f"no model repository at {repository}")
    found = []
    for path in sorted(repository.iterdir()):
        config = path / "config.pbtxt"
        if config.is_file() and path.name not in LOADED_LAST:
            text = config.read_text(encoding="utf-8")
            found.append(ModelFolder(path.name, path, re.search(r'^\s*platform:\s*"ensemble"', text, re.M) is not None))
    if not found:
        raise Refusal(f"the model repository {repository} holds no model")
    return sorted(found, key=lambda model: (model.ensemble, model.name))
