"""Computes artifacts: loads the checkpoint once, exports each graph. The module that imports torch."""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from . import condition_graph, constants, dit_graph, onnx_file, text_graphs, tiny_checkpoint, vae_graphs
from .artifacts import Artifact
from .cache import Cache
from .checkpoint import Parts, load_dit, load_text_encoder, load_tokenizer, load_vae
from .digests import sha256
from .graph import Graph
from .layout import Checkpoints


class Loaded:
    """Parts of one model, read from disk when they are first asked for."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints

    @cached_property
    def text_encoder(self) -> Any:
        return load_text_encoder(self.checkpoints.text_encoder)

    @cached_property
    def vae(self) -> Any:
        return load_vae(self.checkpoints.vae)

    def parts(self, dit: str) -> Parts:
        config = self.checkpoints.dit(dit)
        tokenizer = load_tokenizer(self.checkpoints.text_encoder)
        dits = load_dit(config)
        return Parts(config, **dits, vae=self.vae, text_encoder=self.text_encoder, tokenizer=tokenizer)


def compute(checkpoints: Checkpoints, artifacts: Sequence[Artifact], results: Cache) -> Iterator[tuple[str, float]]:
    """Computes the artifacts into the cache; yields the name and the seconds of each when it is there."""
    _quiet()
    loaded = Loaded(checkpoints)
    dits = list(dict.fromkeys(artifact.dit for artifact in artifacts))
    for dit in dits:  # one DiT in memory at a time
        parts = cache(lambda dit=dit: loaded.parts(dit))
        for artifact in artifacts:
            if artifact.dit == dit:
                started = time.monotonic()
                with results.filling(artifact.digest()) as folder, torch.no_grad():
                    _write(artifact, loaded, parts, folder)
                yield artifact.name, time.monotonic() - started


def _write(artifact: Artifact, loaded: Loaded, parts: Callable[[], Parts], folder: Path) -> None:
    hashes = {file.name: sha256(file) for file in artifact.files}
    if artifact.kind == "constants":
        constants.write(parts(), folder, artifact.name, hashes)
        return
    onnx_file.write(_graph(artifact.kind, loaded, parts), folder, artifact.name, hashes)


def _graph(kind: str, loaded: Loaded, parts: Callable[[], Parts]) -> Graph:
    match kind:
        case "text_encoder":
            return text_graphs.text_encoder(loaded.text_encoder)
        case "lyric_embedding":
            return text_graphs.lyric_embedding(loaded.text_encoder)
        case "vae_decoder":
            return vae_graphs.decoder(loaded.vae)
        case "condition":
            return condition_graph.graph(parts())
        case "dit":
            return dit_graph.graph(parts())
    raise ValueError(f"no graph {kind}")


def make_tiny_checkpoint(folder: Path) -> None:
    """Fills an empty folder with the embedded checkpoint."""
    _quiet()
    tiny_checkpoint.write(folder)


def _quiet() -> None:
    """The exporter reports each operator of torchvision that is not installed, and its own deprecations."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
