"""The repository of the embedded checkpoint, as `python -m export` makes it; shared by the export's tests."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from export.checkpoint import Parts, load_parts

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("ACESTEP_BUILD", ROOT / "build"))
TINY = BUILD / "checkpoints" / "tiny"
TURBO = "acestep-tiny-turbo"
BASE = "acestep-tiny-base"
LM = "acestep-5Hz-lm-tiny"
CLOSE = 2e-6


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """For models as small as these, PyTorch's threads mostly wait for each other. For every module that imports it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run_export(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m export` with these arguments, finished."""
    command = [sys.executable, "-m", "export", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def assembled(*arguments: str | Path) -> Path:
    """The repository that an export with these arguments ends with."""
    done = run_export("--build", BUILD, *arguments)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1].removeprefix("repository: "))


@cache
def repository() -> Path:
    """The assembled repository; exported only when the checkout has none that is current."""
    return assembled()


@cache
def parts(dit: str = TURBO) -> Parts:
    """diffusers' modules of an embedded model."""
    repository()
    return load_parts(TINY, dit)


@cache
def session(model: str, threads: int = 0) -> onnxruntime.InferenceSession:
    """An exported graph in ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = repository() / model / "1" / "model.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(model: str, inputs: dict[str, np.ndarray], threads: int = 0) -> list[np.ndarray]:
    """All outputs of an exported graph."""
    return session(model, threads).run(None, inputs)


def relative_error(found: np.ndarray, expected: torch.Tensor) -> float:
    """Largest deviation, in units of the largest expected value."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected.numpy()).max() / expected.abs().max())
