"""A server that dies while it loads its models is started again, a few times."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from embedded.stack import REPEATED_STARTS
from tests.conftest import StartStack
from tests.test_embedded_triton import refusal

# Kills the server that loads it, as Triton 2.51 kills itself; as often as the file beside it has signs.
DEADLY = '''
import os, pathlib, signal

class TritonPythonModel:
    def initialize(self, args):
        deaths = pathlib.Path({deaths!r})
        left = deaths.read_text()
        if left:
            deaths.write_text(left[1:])
            pid = os.getppid()
            while pathlib.Path(f"/proc/{{pid}}/comm").read_text().strip() != "tritonserver":
                pid = int(pathlib.Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(pid, signal.SIGKILL)

    def execute(self, requests):
        pass
'''
CONFIG = '''name: "deadly" backend: "python" max_batch_size: 0
input [ { name: "in" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "out" data_type: TYPE_FP32 dims: [ 1 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
'''


@pytest.fixture
def deadly(toy_repository: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A repository with a model that kills its server, and the file that says how often."""
    folder, deaths = tmp_path / "repository", tmp_path / "deaths"
    shutil.copytree(toy_repository / "acestep", folder / "acestep")
    (folder / "deadly" / "1").mkdir(parents=True)
    (folder / "deadly" / "1" / "model.py").write_text(DEADLY.format(deaths=str(deaths)))
    (folder / "deadly" / "config.pbtxt").write_text(CONFIG)
    return folder, deaths


def test_a_start_that_succeeds_in_the_end(deadly: tuple[Path, Path], start_stack: StartStack) -> None:
    folder, deaths = deadly
    deaths.write_text("x" * REPEATED_STARTS)
    running = start_stack(repository=folder, frontend=False)
    assert running.output.count("starting it again") == REPEATED_STARTS
    assert "supervisor" not in running.output


def test_a_start_that_never_succeeds_is_one_line(deadly: tuple[Path, Path], tmp_path: Path) -> None:
    folder, deaths = deadly
    deaths.write_text("x" * 99)
    said = refusal(tmp_path, "--repository", str(folder), "--no-frontend")
    assert "Triton died while it loaded" in said
    assert len(deaths.read_text()) == 99 - REPEATED_STARTS - 1
