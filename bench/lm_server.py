"""A Triton server with one engine of the 5 Hz LM and nothing else."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.ports import free_ports
from embedded import triton_process, triton_tree
from embedded.identity import Identity
from embedded.server import Server, ServerPlan
from embedded.triton_process import ADDRESS, TritonOptions, TritonPorts
from frontend.catalogue import ENGINES

SOURCES = Path(__file__).parent.parent / "model_repository"
BUILD = Path(__file__).parent.parent / "build"
LOAD_TIMEOUT = 600.0


@dataclass(frozen=True)
class Served:
    """Where an engine answers, by which name; `pid` is Triton's."""

    grpc: str
    model: str
    pid: int
    shm_prefix: str


@contextmanager
def serve(engine: str, checkpoint: Path, dtype: str, max_model_len: int) -> Iterator[Served]:
    """The engine, loaded; stopped on the way out."""
    model = ENGINES[engine]
    with tempfile.TemporaryDirectory(prefix="acestep-bench-") as folder:
        repository = Path(folder) / "repository"
        shutil.copytree(SOURCES / model, repository / model, ignore=shutil.ignore_patterns("__pycache__"))
        arguments = repository / model / "1" / "model.json"
        written = json.loads(arguments.read_text()) if arguments.is_file() else {}
        given = {"model": str(checkpoint.resolve()), "dtype": dtype, "max_model_len": max_model_len}
        arguments.write_text(json.dumps(written | given))
        server = _start(repository, Path(folder))
        try:
            server.wait_live()
            server.control.load(model, LOAD_TIMEOUT)
            yield Served(server.plan.address, model, server.child.pid, server.plan.identity.shm_prefix)
        finally:
            server.stop()


def _start(repository: Path, state: Path) -> Server:
    ports = TritonPorts(*free_ports(3))
    options = TritonOptions(repository, ports, gpu=triton_process.gpu_present(), log=state / "triton.log")
    identity = Identity.of(state)
    spec = triton_process.triton(triton_tree.assemble(BUILD), options, identity)
    return Server(ServerPlan(spec=spec, address=f"{ADDRESS}:{ports.grpc}", models=[], identity=identity))
