"""How the Triton server is started: its command line and its environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedded import shm
from embedded.child import ChildSpec
from embedded.identity import Identity
from embedded.triton_tree import TritonTree

ADDRESS = "127.0.0.1"
EXIT_TIMEOUT = 3  # seconds; an idle HTTP keep-alive connection holds the server back for all of them
STUB_TIMEOUT = 600  # seconds a model may take to initialise: real weights on a slow disk
# Blocks of 1 MiB and more are mapped, and given back when they are freed; so is what is free at the end of a heap, and
# threads share two heaps. By itself glibc keeps blocks of up to 32 MiB in as many heaps as eight times the cores.
MALLOC = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(shm.MIB), "MALLOC_TRIM_THRESHOLD_": str(shm.MIB)}
# A stub is an embedded interpreter that finds this one by PATH; these would lead it elsewhere.
DROPPED = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "LD_PRELOAD")


@dataclass(frozen=True)
class TritonPorts:
    """Ports of the server, all on the loopback address."""

    http: int
    grpc: int
    metrics: int


@dataclass(frozen=True)
class TritonOptions:
    """What differs between two servers of one tree; `gpu` False serves every model's named configuration `cpu`."""

    repository: Path
    ports: TritonPorts
    gpu: bool
    log: Path
    lm_cpu_kv_gib: int = 1


def gpu_present() -> bool:
    """Whether the machine has an NVIDIA device and this environment an ONNX Runtime that can use it."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return False
    from importlib.metadata import PackageNotFoundError, version

    try:
        version("onnxruntime-gpu")
    except PackageNotFoundError:
        return False
    return True


def command(tree: TritonTree, options: TritonOptions, identity: Identity) -> list[str]:
    """The server's argument list: models are loaded one by one afterwards, so a slow one holds no other back."""
    ports = options.ports
    arguments = [
        str(tree.server),
        f"--model-repository={options.repository}",
        f"--backend-directory={tree.backends}",
        f"--cache-directory={tree.caches}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        f"--http-address={ADDRESS}", f"--grpc-address={ADDRESS}", f"--metrics-address={ADDRESS}",
        f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}",
        f"--exit-timeout-secs={EXIT_TIMEOUT}",
        # Triton would keep the messages of its last eight requests for reuse: 230 MB for ten minutes of audio.
        "--grpc-infer-allocation-pool-size=0",
        f"--backend-config=python,shm-region-prefix-name={identity.shm_prefix}",
        f"--backend-config=python,shm-default-byte-size={shm.region_bytes()}",
        f"--backend-config=python,stub-timeout-seconds={STUB_TIMEOUT}",
    ]
    if not options.gpu:
        arguments += ["--model-config-name=cpu", "--pinned-memory-pool-byte-size=0", "--allow-gpu-metrics=false"]
    return arguments


def environment(tree: TritonTree, base: Mapping[str, str]) -> dict[str, str]:
    """Environment of server and stubs: this interpreter first on PATH, the wheel's libraries first on the loader's.

    The base may say otherwise about malloc.
    """
    env = MALLOC | {name: value for name, value in base.items() if name not in DROPPED}
    env["PATH"] = os.pathsep.join([str(Path(sys.prefix, "bin")), base.get("PATH", os.defpath)])
    env["LD_LIBRARY_PATH"] = os.pathsep.join(
        [*map(str, tree.libraries), *([base["LD_LIBRARY_PATH"]] if base.get("LD_LIBRARY_PATH") else [])]
    )
    env["PYTHONUNBUFFERED"] = "1"
    env["PYTHONNOUSERSITE"] = "1"
    return env


def triton(tree: TritonTree, options: TritonOptions, identity: Identity) -> ChildSpec:
    """The server as a child to start; its working directory is the log's, since stubs import from where they stand."""
    env = environment(tree, os.environ) | {
        "LM_CPU_KV_GIB": str(options.lm_cpu_kv_gib),  # for the vllm backend
        "ACESTEP_TRITON_GRPC": f"{ADDRESS}:{options.ports.grpc}",  # for the pipeline, which calls the LM that way
    }
    return ChildSpec(
        name="triton", argv=command(tree, options, identity), env=env,
        log=options.log, cwd=options.log.parent,
    )
