"""Everything the export computes from a checkpoint, and the digest under which each result is kept.

Imports nothing heavy: deciding that nothing has to be done must be quick.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from .digests import digest, sources, stamps
from .layout import SILENCE, TEXT_ENCODER, VAE, VAE_WEIGHTS, Checkpoints
from .shards import index_file, weight_files

VERSIONED = ("torch", "diffusers", "transformers", "onnx", "onnxscript", "onnxruntime")

# Sources of this package that decide what is in a graph.
_LOADING = (
    "checkpoint.py",
    "module_configs.py",
    "oobleck.py",
    "timbre_token.py",
    "upstream_keys.py",
    "weights.py",
    "shards.py",
    "layout.py",
)
_EXPORTING = (*_LOADING, "graph.py", "onnx_file.py")
_RECIPES = {
    "text_encoder": (*_EXPORTING, "text_graphs.py"),
    "lyric_embedding": (*_EXPORTING, "text_graphs.py"),
    "vae_encoder": (*_EXPORTING, "vae_graphs.py"),
    "vae_decoder": (*_EXPORTING, "vae_graphs.py"),
    "condition": (*_EXPORTING, "attention.py", "condition_graph.py"),
    "dit": (*_EXPORTING, "attention.py", "dit_graph.py"),
    "tokenize": (*_EXPORTING, "attention.py", "token_graphs.py"),
    "detokenize": (*_EXPORTING, "attention.py", "token_graphs.py"),
    "constants": (*_LOADING, "constants.py"),
}
# Files of the artifact "constants".
SILENCE_FILE = "silence_latent.npy"
NULL_CONDITION_FILE = "null_condition.npy"
# Artifacts that all DiTs share -> the checkpoint folder that each comes from.
SHARED = {
    "text_encoder": TEXT_ENCODER,
    "lyric_embedding": TEXT_ENCODER,
    "vae_encoder": VAE,
    "vae_decoder": VAE,
}
PER_DIT = ("condition", "dit", "tokenize", "detokenize", "constants")


@dataclass(frozen=True)
class Artifact:
    """One cached result: a graph, or the constant tensors of a DiT (`kind` "constants").

    folder: the checkpoint folder it comes from; files: what it reads there. dit: the DiT's name, "" when shared.
    """

    kind: str
    dit: str
    folder: Path
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The Triton model's name."""
        return f"{self.dit}-{self.kind}" if self.dit else self.kind

    def digest(self) -> str:
        return digest(self.name, stamps(self.files), sources(_RECIPES[self.kind]), versions())


def versions() -> dict[str, str]:
    """Versions of the packages that decide what is in a graph."""
    return {name: version(name) for name in VERSIONED}


def all_of(checkpoints: Checkpoints) -> list[Artifact]:
    """What the repository of these checkpoints is made of. ExportError when a weight file is missing."""
    files = {
        TEXT_ENCODER: _files(checkpoints.text_encoder, "model"),
        VAE: _files(checkpoints.vae, VAE_WEIGHTS),
    }
    found = [Artifact(kind, "", checkpoints.root / folder, files[folder]) for kind, folder in SHARED.items()]
    for name in checkpoints.models:
        folder = checkpoints.root / name
        own = (*_files(folder, "model"), folder / SILENCE)
        found += [Artifact(kind, name, folder, own) for kind in PER_DIT]
    return found


def _files(folder: Path, stem: str) -> tuple[Path, ...]:
    index = index_file(folder, stem)
    return (folder / "config.json", *weight_files(folder, stem), *([index] if index.is_file() else []))
