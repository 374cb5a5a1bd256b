"""The assembled repository is the one directory to mount: copied elsewhere, read-only, without what it came from."""

import os
import shutil
import stat
from pathlib import Path

import psutil
import pytest

from embedded.server import Server
from embedded.stubs import StubProcess
from engine.language_model import Settings
from export import build
from tests import exported
from tests.conftest import wait_for_model
from tests.pipeline_client import sing

MADE_FROM = [exported.BUILD.resolve() / name for name in ("repository", "graphs", "checkpoints")]


@pytest.fixture(scope="module")
def moved(tmp_path_factory) -> Path:
    """A copy, which shares no file with the original, that nobody may write to."""
    folder = Path(shutil.copytree(exported.repository(), tmp_path_factory.mktemp("elsewhere") / "models"))
    for path in [*folder.rglob("*"), folder]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    return folder


def test_no_file_of_it_names_a_place_on_the_machine_that_made_it(moved):
    """What one engine of the LM is told, the other's and the pipeline's are told too."""
    places = [os.fsencode(place) for place in (exported.ROOT, exported.BUILD.resolve(), build.MODEL_REPOSITORY)]
    for path in moved.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert not any(place in content for place in places), path
    assert not any(path.is_symlink() for path in moved.rglob("*"))


def test_the_pytorch_engine_finds_the_checkpoint_of_its_own_repository(moved):
    assert Settings.read(moved / "lm_pt" / "1" / "model.json").model == moved / "lm" / "1" / "checkpoint"


@pytest.mark.parametrize("error", [PermissionError, OSError(30, "Read-only file system")])
def test_a_dead_stub_comes_back_in_a_repository_that_cannot_be_written_to(moved, monkeypatch, error):
    """Where its file cannot be touched, a model is unloaded before it is loaded."""
    asked = []
    server = object.__new__(Server)
    server.expected = [StubProcess(1, "acestep", moved / "acestep" / "1" / "model.py")]
    server.child = type("Child", (), {"pid": os.getpid()})()
    server.control = type("Control", (), {
        "unload": lambda self, name: asked.append(("unload", name)),
        "load": lambda self, name, timeout: asked.append(("load", name)),
    })()
    monkeypatch.setattr(Path, "touch", lambda self: (_ for _ in ()).throw(error))
    server.revive("acestep")
    assert asked == [("unload", "acestep"), ("load", "acestep")]


@pytest.mark.slow
async def test_thinking_songs_are_made_with_both_engines(moved, start_stack):
    stack = start_stack(repository=moved, frontend=False)
    for model in ("lm", "lm_pt"):
        wait_for_model(stack, model)
    wish = {"seeds": [4], "duration": 12, "bpm": 96, "key_scale": "A minor", "time_signature": "3", "thinking": True}
    for engine in ("vllm", "pt"):
        song = await sing(stack.triton_grpc, caption="a waltz", lyrics="[verse]\nLa lune", lm_engine=engine, **wish)
        assert song.done["lm"]["engine"] == engine
        assert song.audio().shape == (2, 48_000 * 12)
    launcher = psutil.Process(stack.process.pid)
    for process in launcher.children(recursive=True):
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert not any(str(place) in maps for place in MADE_FROM), process.cmdline()
