"""Computes artifacts: loads what a graph needs of the checkpoint and exports it. The module that imports torch."""

import logging
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from . import condition_graph, constants, dit_graph, onnx_file, text_graphs, tiny_checkpoint, token_graphs, vae_graphs
from .artifacts import Artifact
from .cache import Cache
from .checkpoint import Parts, load_dit, load_text_encoder, load_tokenizer, load_vae, verify
from .digests import sha256
from .errors import ExportError
from .graph import Graph
from .layout import Checkpoints

# Tracing is Python on one core: small models are exported side by side, large ones one at a time to save memory.
_SMALL = 200_000_000
_WORKERS = 2
_SLOWEST_FIRST = (
    "dit",
    "condition",
    "vae_encoder",
    "vae_decoder",
    "tokenize",
    "text_encoder",
    "detokenize",
    "lyric_embedding",
    "constants",
)

Done = tuple[str, float]
"""Name of an artifact that is in the cache now, and the seconds it took."""


def compute(checkpoints: Checkpoints, artifacts: Sequence[Artifact], results: Cache) -> Iterator[Done]:
    """Computes the artifacts into the cache, which holds all of them when this ends. Raises ExportError."""
    verify(checkpoints)  # a wrong checkpoint is refused before minutes go into the parts that are right
    size = sum(file.stat().st_size for artifact in artifacts for file in artifact.files)
    if size > _SMALL or len(artifacts) == 1:
        for artifact in artifacts:  # those of one DiT follow each other: it is loaded once
            yield _compute_one(checkpoints, artifact, results)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_WORKERS, context, initializer=_start_worker) as pool:
        ordered = sorted(artifacts, key=lambda artifact: _SLOWEST_FIRST.index(artifact.kind))
        running: list[Future[Done]] = [pool.submit(_compute_one, checkpoints, one, results) for one in ordered]
        try:
            for future in as_completed(running):
                yield future.result()
        except BaseException as error:  # Ctrl-C too: nobody waits for what is half done
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            if isinstance(error, BrokenProcessPool):
                raise ExportError("a process that exported a graph was killed (not enough memory?)") from None
            raise


def _start_worker() -> None:
    torch.set_num_threads(1)  # a core each; more threads would wait for each other
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker without a word
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:  # a parent that was killed cannot tell its workers
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def make_tiny_checkpoint(folder: Path) -> None:
    """Fills an empty folder with the embedded checkpoint."""
    tiny_checkpoint.write(folder)


def _compute_one(checkpoints: Checkpoints, artifact: Artifact, results: Cache) -> Done:
    _quiet()
    started = time.monotonic()
    hashes = {file.name: sha256(file) for file in artifact.files}
    with results.filling(artifact.digest()) as folder, torch.no_grad():
        if artifact.kind == "constants":
            constants.write(_parts(checkpoints, artifact.dit), folder, artifact.name, hashes)
        else:
            onnx_file.write(_graph(checkpoints, artifact), folder, artifact.name, hashes)
    return artifact.name, time.monotonic() - started


def _graph(checkpoints: Checkpoints, artifact: Artifact) -> Graph:
    match artifact.kind:
        case "text_encoder":
            return text_graphs.text_encoder(_text_encoder(checkpoints))
        case "lyric_embedding":
            return text_graphs.lyric_embedding(_text_encoder(checkpoints))
        case "vae_encoder":
            return vae_graphs.encoder(_vae(checkpoints))
        case "vae_decoder":
            return vae_graphs.decoder(_vae(checkpoints))
        case "condition":
            return condition_graph.graph(_parts(checkpoints, artifact.dit))
        case "dit":
            return dit_graph.graph(_parts(checkpoints, artifact.dit))
        case "tokenize":
            return token_graphs.tokenizer(_parts(checkpoints, artifact.dit))
        case "detokenize":
            return token_graphs.detokenizer(_parts(checkpoints, artifact.dit))
    raise ValueError(f"no graph {artifact.kind}")


@lru_cache(maxsize=1)
def _text_encoder(checkpoints: Checkpoints) -> Any:
    return load_text_encoder(checkpoints.text_encoder)


@lru_cache(maxsize=1)
def _vae(checkpoints: Checkpoints) -> Any:
    return load_vae(checkpoints.vae)


@lru_cache(maxsize=1)
def _parts(checkpoints: Checkpoints, dit: str) -> Parts:
    config = checkpoints.dit(dit)
    return Parts(
        config=config,
        **load_dit(config),
        vae=_vae(checkpoints),
        text_encoder=_text_encoder(checkpoints),
        tokenizer=load_tokenizer(checkpoints.text_encoder),
    )


def _quiet() -> None:
    """The exporter reports each operator of torchvision that is not installed, and its own deprecations."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    for category in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category)
