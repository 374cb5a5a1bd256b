"""The constant tensors of a DiT that the pipeline needs besides its graphs."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .artifacts import NULL_CONDITION_FILE, SILENCE_FILE, versions
from .checkpoint import Parts, read_silence


def write(parts: Parts, folder: Path, name: str, sources: Mapping[str, str]) -> None:
    """silence_latent.npy [15000, 64], null_condition.npy [H] of a base model, both float32, and a manifest.

    The null condition stands in every position of the condition encoder's output in the unconditional row of
    classifier-free guidance (diffusers' pipeline_ace_step.py). A turbo model has one too, but was distilled without.
    """
    np.save(folder / SILENCE_FILE, read_silence(parts.config).numpy())
    if not parts.config.is_turbo:
        np.save(folder / NULL_CONDITION_FILE, parts.condition_encoder.null_condition_emb.reshape(-1).numpy())
    manifest = {"name": name, "sources": dict(sources), "versions": versions()}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
