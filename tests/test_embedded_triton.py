"""The embedded server: what it serves and how, and the one line that says why it does not start."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import soundfile

from embedded import (
    address,
    borrowed_stack,
    interpreter,
    orphans,
    preflight,
    repository,
    shm,
    triton_process,
    triton_tree,
)
from embedded.child import Child, ChildSpec
from embedded.deaths import Deaths
from embedded.identity import MARK, Identity
from embedded.lock import StateLock
from embedded.refusal import Refusal
from embedded.tenancy import Tenancy
from tests.conftest import RunningStack, launcher_environment


def test_a_real_triton_serves_every_model(stack: RunningStack) -> None:
    with httpx.Client(base_url=f"http://{stack.triton_http}") as client:
        assert client.get("/v2").json()["version"] == "2.51.0"
        index = client.post("/v2/repository/index", json={}).json()
        states = {model["name"]: model.get("state") for model in index}
        folders = {path.name for path in Path(stack.repository).iterdir() if (path / "config.pbtxt").is_file()}
        assert {"acestep", "text_encoder", "vae_decoder", "acestep-tiny-turbo-dit"} <= folders
        assert states == dict.fromkeys(folders, "READY")
        config = client.get("/v2/models/vae_decoder/config").json()
        assert config["backend"] == "onnxruntime"
        assert [group["kind"] for group in config["instance_group"]] == ["KIND_CPU"]  # configs/cpu.pbtxt


def test_everything_started_is_marked_and_private(stack: RunningStack) -> None:
    identity = Identity.of(stack.state)
    assert stack.shm_prefix == identity.shm_prefix
    assert stack.pid == stack.process.pid
    commands = {Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0] for pid in orphans.marked(identity)}
    assert {"tritonserver", "triton_python_backend_stub"} <= {os.path.basename(command) for command in commands}
    assert shm.files(stack.shm_prefix)
    for each in (stack.triton_http, stack.triton_grpc, stack.triton_metrics):
        assert each.startswith("127.0.0.1:")


def embedded(*arguments: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "embedded", *arguments], env=env, cwd=cwd, capture_output=True, text=True, timeout=60,
        check=False,
    )


def refusal(tmp_path: Path, *flags: str, **changes: str) -> str:
    """The one line that `run` ends with."""
    env = launcher_environment(tmp_path / "state") | changes
    done = embedded("run", *flags, env=env, cwd=tmp_path)
    assert done.returncode != 0, done.stdout
    assert done.stderr.startswith("embedded: ")
    assert done.stderr.count("\n") == 1, done.stderr
    state = Path(env["ACESTEP_TMPDIR"])
    assert orphans.marked(Identity.of(state)) == []
    assert shm.files(Identity.of(state).shm_prefix) == []
    return done.stderr


def test_taken_port(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refusal(tmp_path, TRITON_GRPC_PORT=str(port))
    assert f"port {port} " in said
    assert "TRITON_GRPC_PORT" in said


def test_one_port_for_two_things(tmp_path: Path) -> None:
    said = refusal(tmp_path, TRITON_GRPC_PORT="23456", ACESTEP_API_PORT="23456")
    assert "ACESTEP_API_PORT" in said
    assert "TRITON_GRPC_PORT" in said


def test_second_launcher(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "state")
    said = refusal(tmp_path)
    lock.release()
    assert "already running" in said
    assert str(os.getpid()) in said


def test_missing_checkpoints(tmp_path: Path) -> None:
    said = refusal(tmp_path, CHECKPOINTS=str(tmp_path / "nowhere"))
    assert f"CHECKPOINTS: there is no folder {tmp_path / 'nowhere'}" in said


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "set ACESTEP_BUILD" in refusal(tmp_path, ACESTEP_BUILD=str(tmp_path / "file"))
    assert "set ACESTEP_TMPDIR" in refusal(tmp_path, ACESTEP_TMPDIR=str(tmp_path / "file"))


@pytest.mark.parametrize("name", ["two words", "cash$HOME", "it's", "a;b"])
def test_build_folder_that_a_shell_would_read_otherwise(tmp_path: Path, name: str) -> None:
    said = refusal(tmp_path, ACESTEP_BUILD=str(tmp_path / name))
    assert "ACESTEP_BUILD: Triton cannot start its models from a path with" in said
    assert not (tmp_path / name).exists()


def test_repository_that_a_shell_would_read_otherwise(tmp_path: Path, toy_repository: Path) -> None:
    (tmp_path / "my songs").symlink_to(toy_repository)
    preflight.check_paths({"ACESTEP_BUILD": (tmp_path / "my songs").resolve()})
    shutil.copytree(toy_repository / "rows", tmp_path / "my models" / "rows")
    said = refusal(tmp_path, "--repository", str(tmp_path / "my models"), "--no-frontend")
    assert "--repository: Triton cannot start its models from a path with ' '" in said


def test_wrong_setting(tmp_path: Path) -> None:
    assert "ACESTEP_API_PORT" in refusal(tmp_path, ACESTEP_API_PORT="many")


def test_model_that_does_not_load(tmp_path: Path, toy_repository: Path) -> None:
    broken = tmp_path / "repository"
    shutil.copytree(toy_repository, broken, ignore=shutil.ignore_patterns("types", "reshaped", "picky", "padded"))
    config = broken / "rows" / "config.pbtxt"
    config.write_text(config.read_text().replace("TYPE_FP32", "TYPE_FP16"))
    said = refusal(tmp_path, "--repository", str(broken), "--no-frontend")
    assert "model rows does not load" in said
    assert "TYPE_FP16" in said


def test_repository_that_is_not_there(tmp_path: Path) -> None:
    assert "no model repository at" in refusal(tmp_path, "--repository", str(tmp_path / "nowhere"), "--no-frontend")


def test_models_are_loaded_without_the_lm_and_ensembles_last(tmp_path: Path) -> None:
    for name in ("zebra", "lm_pt", "lm", "ant"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(f'name: "{name}"\nbackend: "python"\n')
    (tmp_path / "ant" / "config.pbtxt").write_text('name: "ant"\nplatform: "ensemble"\n')
    (tmp_path / "notes").mkdir()
    assert [(model.name, model.ensemble) for model in repository.models(tmp_path)] == [("zebra", False), ("ant", True)]
    for backend, late in (("vllm", ["lm"]), ("pt", ["lm_pt"]), ("both", ["lm", "lm_pt"])):
        assert [model.name for model in repository.late_models(tmp_path, backend)] == late


def test_numpy_2_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "numpy-2.1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.1.0\n")
    preflight.check_python()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Refusal, match=r"numpy 2\.1\.0 .* install numpy 1\.26\.4"):
        preflight.check_python()


def test_missing_libpython_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    preflight.check_libpython()
    monkeypatch.setattr(interpreter, "libpython_name", lambda: "libpython3.99.so.1.0")
    with pytest.raises(Refusal, match=r"libpython3\.99\.so\.1\.0 is missing: `apt install libpython"):
        preflight.check_libpython()


def test_missing_system_library_is_named(tmp_path: Path) -> None:
    tree = triton_tree.assemble(tmp_path)
    preflight.check_libraries(tree, triton_process.environment(tree, os.environ))
    with pytest.raises(Refusal, match=r"the system library lib\S+ is missing, which triton_python_backend_stub needs"):
        preflight.check_libraries(tree, {})  # the copied stub finds the wheel's libraries by LD_LIBRARY_PATH alone


def test_the_tree_is_made_once_and_anew_when_a_backend_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = triton_tree.assemble(tmp_path)
    assert triton_tree.assemble(tmp_path) == first
    backends = tmp_path / "ours"
    shutil.copytree(triton_tree.OUR_BACKENDS, backends)
    (backends / "onnxruntime" / "model.py").write_text("# changed\n")
    monkeypatch.setattr(triton_tree, "OUR_BACKENDS", backends)
    assert triton_tree.assemble(tmp_path).backends != first.backends


MAPPER = """
import mmap, sys, time
with open(sys.argv[1], "w+b") as file:
    file.truncate(4096)
    mapped = mmap.mmap(file.fileno(), 0)
print("mapped", flush=True)
time.sleep(60)
"""


def test_shared_memory_that_is_mapped_is_left_alone(tmp_path: Path) -> None:
    prefix = Identity.of(tmp_path).shm_prefix
    used, unused = shm.DIRECTORY / f"{prefix}used", shm.DIRECTORY / f"{prefix}unused"
    unused.write_bytes(b"x")
    with subprocess.Popen([sys.executable, "-c", MAPPER, str(used)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert shm.clean(prefix) == [unused.name]
        process.kill()
    assert shm.clean(prefix) == [used.name]


def test_what_keeps_dying_is_given_up() -> None:
    deaths = Deaths("Triton", limit=4, window=0.3)
    assert [deaths.record("exit code 1") for _ in range(3)] == [0.0, 1.0, 2.0]
    time.sleep(0.31)
    assert deaths.record("exit code 1") == 0.0
    deaths.record("exit code 1")
    deaths.record("exit code 1")
    with pytest.raises(Refusal, match="Triton died 4 times within 0 s"):
        deaths.record("exit code 1")


def song(stack: RunningStack, tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    env = launcher_environment(stack.state)
    return embedded("song", "--prompt", "soft piano 雨", *flags, env=env, cwd=tmp_path)


def test_song_from_the_terminal(stack: RunningStack, tmp_path: Path) -> None:
    done = song(stack, tmp_path, "--duration", "10", "--format", "flac")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "songs" / "soft-piano-雨.flac"
    assert str(file.relative_to(tmp_path)) in done.stdout
    info = soundfile.info(file)
    assert (info.samplerate, info.channels, info.frames) == (48_000, 2, 480_000)


def test_song_that_the_service_refuses(stack: RunningStack, tmp_path: Path) -> None:
    done = song(stack, tmp_path, "--duration", "5")
    assert done.returncode != 0
    assert done.stderr.startswith("embedded: the service refused (400): ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "songs").exists()


def test_song_without_a_service(tmp_path: Path) -> None:
    env = launcher_environment(tmp_path / "state")
    done = embedded("song", "--prompt", "x", "--url", "http://127.0.0.1:9", env=env, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.startswith("embedded: no answer from http://127.0.0.1:9")


def test_addresses_for_a_client_on_this_machine() -> None:
    assert address.url("::", 8001) == address.url("::1", 8001) == "http://[::1]:8001"
    assert address.url("0.0.0.0", 8001) == address.url("127.0.0.1", 8001) == "http://127.0.0.1:8001"
    assert address.url("studio.lan", 80) == "http://studio.lan:80"


def test_song_to_an_address_that_is_none(tmp_path: Path) -> None:
    env = launcher_environment(tmp_path / "state")
    done = embedded("song", "--prompt", "x", "--url", "http://[::1", env=env, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.startswith("embedded: no answer from http://[::1")
    assert done.stderr.count("\n") == 1


def test_only_our_own_service_is_taken_for_a_running_stack(stack: RunningStack) -> None:
    assert borrowed_stack.is_up(stack.api)
    assert not borrowed_stack.is_up(f"http://{stack.triton_http}")
    assert not borrowed_stack.is_up("http://[::1")


def test_a_stack_is_left_by_its_tenants_before_it_is_taken_down(tmp_path: Path) -> None:
    first, second, told = Tenancy(tmp_path), Tenancy(tmp_path), threading.Event()
    waiter = threading.Thread(target=first.be_the_last, args=(told.set,))
    waiter.start()
    assert told.wait(5)
    assert waiter.is_alive()
    second.end()
    waiter.join(5)
    assert not waiter.is_alive()
    first.end()


def test_a_song_s_launcher_is_no_relic_for_another_launcher(tmp_path: Path) -> None:
    identity = Identity.of(tmp_path)
    spec = ChildSpec("x", ["/bin/sleep", "60"], {MARK: identity.id}, tmp_path / "log")
    children = [Child(spec, None), Child(spec, identity)]
    try:
        assert orphans.reap(identity) == [children[1].pid]
        assert children[0].exit_code is None
    finally:
        for child in children:
            child.kill()


@pytest.mark.slow
def test_songs_at_once_share_a_stack_and_leave_nothing(tmp_path: Path) -> None:
    """Three commands and no stack: one starts it and stops it when the others are done, one is interrupted."""
    state = tmp_path / "state"
    env = launcher_environment(state) | {"ACESTEP_API_HOST": "::"}
    command = [sys.executable, "-m", "embedded", "song", "--prompt", "x", "--duration"]
    texts = [tmp_path / f"said-{number}" for number in range(3)]
    begun = []
    for text, more in zip(texts, (["10", "--out", "a/b.wav"], ["10", "--out", "c.wav"], ["600"]), strict=True):
        with text.open("wb") as out:
            begun.append(subprocess.Popen([*command, *more], env=env, cwd=tmp_path, stderr=out, stdout=out))
    deadline = time.monotonic() + 60
    while not ((tmp_path / "a" / "b.wav").exists() and (tmp_path / "c.wav").exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    begun[2].send_signal(signal.SIGINT)
    assert [process.wait(20) for process in begun] == [0, 0, 130], [text.read_text() for text in texts]
    assert re.search(r"embedded: stopped; job \S+ (stays queued|is not cancelled)", texts[2].read_text())
    assert soundfile.info(tmp_path / "a" / "b.wav").frames == soundfile.info(tmp_path / "c.wav").frames == 480_000
    assert sum("starting one for this song" in text.read_text() for text in texts) >= 1
    assert orphans.marked(Identity.of(state)) == []
    assert shm.files(Identity.of(state).shm_prefix) == []
    assert list((state / "logs").glob("launcher*")) == []


def test_ready_message_shows_a_request_that_works(stack: RunningStack) -> None:
    output = stack.output
    assert "their audio is noise" in output
    assert "times: checks" in output
    line = next(line for line in output.splitlines() if line.strip().startswith("-d "))
    body = json.loads(line.strip().removeprefix("-d ").strip("'"))
    answer = httpx.post(f"{stack.api}/v1/music/generate", json=body | {"audio_duration": 10})
    assert answer.status_code == 200
    assert answer.json()["job_id"]
