"""The constant tensors of a DiT that the pipeline needs besides its graphs."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .artifacts import NULL_CONDITION_FILE, SILENCE_FILE, versions
from .checkpoint import Parts, read_silence


def write(parts: Parts, folder: Path, name: str, sources: Mapping[str, str]) -> None:
    """silence_latent.npy [15000, 64] and null_condition.npy [H], both float32, and a manifest."""
    np.save(folder / SILENCE_FILE, read_silence(parts.config).numpy())
    np.save(folder / NULL_CONDITION_FILE, parts.condition_encoder.null_condition_emb.reshape(-1).numpy())
    manifest = {"name": name, "sources": dict(sources), "versions": versions()}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
