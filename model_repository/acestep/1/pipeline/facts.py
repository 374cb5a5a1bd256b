"""What the pipeline knows of the models it serves: written by the export, read once at load."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import invalid
from .lm.facts import Lm
from .lm.facts import load as load_lm


@dataclass(frozen=True)
class Dit:
    """One diffusion transformer: its facts.json and its silence latent.

    `silence` is float32 [15000, 64]: 600 s of what the VAE makes of silence (docs/model.md, DiT). `null_condition` is
    float32 [H], what a base model attends to in every slot of its unconditional row (the same, Guidance); turbo models
    have none.
    """

    name: str
    is_turbo: bool
    is_lego_sft: bool
    aliases: tuple[str, ...]
    tasks: tuple[str, ...]
    max_steps: int
    default_steps: int
    max_prompt_tokens: int
    max_lyric_tokens: int
    timbre_frames: int
    silence: npt.NDArray[np.float32]
    null_condition: npt.NDArray[np.float32] | None
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Served:
    """All DiTs of this repository, and what they share."""

    default: str
    embedded: bool
    overlap_frames: int
    encoder_overlap_frames: int
    dits: Mapping[str, Dit]
    lm: Lm | None

    def choose(self, name: str | None) -> Dit:
        """The DiT of that name or alias; None is the default. Errors: 400 naming those that are served."""
        if name is None:
            return self.dits[self.default]
        for dit in self.dits.values():
            if name == dit.name or name in dit.aliases:
                return dit
        raise invalid("model", f"must be one of {', '.join(self.dits)}")


def load(folder: Path) -> Served:
    """Reads `models/` of the acestep model's version folder."""
    served = json.loads((folder / "served.json").read_text())
    return Served(
        default=served["default"],
        embedded=served["embedded"],
        overlap_frames=served["vae"]["overlap_frames"],
        encoder_overlap_frames=served["vae"]["encoder_overlap_frames"],
        dits={name: _load_dit(folder / name) for name in served["models"]},
        lm=load_lm(served.get("lm"), folder.parent / "lm"),
    )


def _load_dit(folder: Path) -> Dit:
    facts = json.loads((folder / "facts.json").read_text())
    return Dit(
        name=facts["name"],
        is_turbo=facts["is_turbo"],
        is_lego_sft=facts["is_lego_sft"],
        aliases=tuple(facts["aliases"]),
        tasks=tuple(facts["tasks"]),
        max_steps=facts["steps"]["max"],
        default_steps=facts["steps"]["default"],
        max_prompt_tokens=facts["max_prompt_tokens"],
        max_lyric_tokens=facts["max_lyric_tokens"],
        timbre_frames=facts["timbre_frames"],
        silence=np.load(folder / "silence_latent.npy"),
        null_condition=np.load(null) if (null := folder / "null_condition.npy").exists() else None,
        facts=facts,
    )
