"""Stacks for the tests: real Triton servers on free ports, each with a state directory of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import httpx
import pytest

from embedded import orphans, shm, stack_file
from embedded.identity import Identity
from embedded.stack_file import StackFile
from frontend.settings import TABLE

if TYPE_CHECKING:
    from tests.scripted import Scripted

ROOT = Path(__file__).resolve().parent.parent
# Fixtures that start a Triton, or are there for one.
TRITONS = {"scripted", "start_stack", "toy_repository", "victim"}
START_TIMEOUT = 280.0  # the first start after a clone exports the embedded checkpoint


@dataclass(frozen=True)
class RunningStack(StackFile):
    """A stack that a test may talk to: `stack.json`'s fields, its state directory and its launcher."""

    state: Path
    process: subprocess.Popen[bytes]

    @property
    def output(self) -> str:
        """What the launcher has printed so far."""
        return (self.state / "launcher.out").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> int:
        """Ends the launcher as Ctrl-C does; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=20)


class Launched(NamedTuple):
    """A stack that may not be up yet: its state directory and its launcher."""

    state: Path
    process: subprocess.Popen[bytes]


class StartStack(Protocol):
    """Starts a stack of a test's own; stopped at the end of the test."""

    def __call__(
        self, *, state: Path | None = None, repository: Path | None = None, frontend: bool = True
    ) -> RunningStack: ...


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def launcher_environment(state: Path, engines: str | None = None) -> dict[str, str]:
    """Environment of `python -m embedded` with free ports; the tester's own settings do not leak in.

    `engines` is ACESTEP_LM_BACKEND. Without it no LM is exported and loaded, which takes half a minute of two cores.
    """
    names = {name for setting in TABLE for name in setting.names}
    env = {name: value for name, value in os.environ.items() if name not in names}
    ports = ("ACESTEP_API_PORT", "OPENROUTER_PORT", "TRITON_HTTP_PORT", "TRITON_GRPC_PORT", "TRITON_METRICS_PORT")
    env |= {name: str(port) for name, port in zip(ports, free_ports(len(ports)), strict=True)}
    build = os.environ.get("ACESTEP_BUILD", str(ROOT / "build"))
    own = {"ACESTEP_TMPDIR": str(state), "ACESTEP_BUILD": build, "PYTHONPATH": str(ROOT)}
    # Of songs whose length the LM chooses, short ones are tested no less.
    return env | own | ({"ACESTEP_LM_BACKEND": engines, "LM_DURATION_MAX": "13"} if engines else {"LM": "none"})


def start(state: Path, repository: Path | None, frontend: bool, engines: str | None = None) -> RunningStack:
    """A started stack; fails the test with the launcher's output if it does not come up."""
    return wait_for_stack(state, launch(state, repository, frontend, engines))


def launch(
    state: Path, repository: Path | None, frontend: bool, engines: str | None = None
) -> subprocess.Popen[bytes]:
    """The launcher of a stack that is about to start."""
    state.mkdir(parents=True, exist_ok=True)
    flags = [*(["--repository", str(repository)] if repository else []), *([] if frontend else ["--no-frontend"])]
    with (state / "launcher.out").open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "embedded", "run", *flags], cwd=state, env=launcher_environment(state, engines),
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )


def wait_for_stack(state: Path, process: subprocess.Popen[bytes]) -> RunningStack:
    """The stack when it is ready; fails the test with the launcher's output if it does not come up."""
    deadline = time.monotonic() + START_TIMEOUT
    while (found := stack_file.read(state)) is None or found.pid != process.pid:
        if process.poll() is not None or time.monotonic() > deadline:
            process.send_signal(signal.SIGINT)
            pytest.fail(f"the stack did not start:\n{(state / 'launcher.out').read_text(errors='replace')}")
        time.sleep(0.05)
    return _running(found, state, process)


def wait_for_model(running: RunningStack, model: str, seconds: float = 200.0) -> None:
    """Until Triton has the model ready; fails the test with the launcher's output if it does not."""
    deadline = time.monotonic() + seconds
    while httpx.get(f"http://{running.triton_http}/v2/models/{model}/ready").status_code != 200:
        if time.monotonic() > deadline:
            pytest.fail(f"{model} is not ready after {seconds:.0f} s:\n{running.output}")
        time.sleep(0.2)


def _running(found: StackFile, state: Path, process: subprocess.Popen[bytes]) -> RunningStack:
    return RunningStack(**asdict(found), state=state, process=process)


@pytest.fixture(scope="session")
def stack(launched: Launched) -> Iterator[RunningStack]:
    """The whole stack with both engines of its LM, one for the session; tests leave it as they find it."""
    running = wait_for_stack(*launched)
    for model in ("lm", "lm_pt"):
        wait_for_model(running, model)
    yield running
    assert running.stop() == 0, running.output


@pytest.fixture(scope="session", autouse=True)
def launched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launched | None]:
    """The session's stack on its way, if a test will want it: it loads its LM while tests run that need no Triton."""
    if not any("stack" in item.fixturenames for item in request.session.items if isinstance(item, pytest.Function)):
        yield None
        return
    state = tmp_path_factory.mktemp("stack")
    process = launch(state, None, True, "both")
    yield Launched(state, process)
    if process.poll() is None:  # nobody has come to it
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First the modules without a Triton, then those with one of their own, then those on the session's stack."""
    wanted: dict[Path, set[str]] = {}
    for item in items:
        if isinstance(item, pytest.Function):
            wanted.setdefault(item.path, set()).update(item.fixturenames)

    def place(item: pytest.Item) -> int:
        names = wanted.get(item.path, set())
        return 2 if "stack" in names else 1 if names & TRITONS else 0

    items.sort(key=place)


@pytest.fixture
def start_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartStack]:
    """Factory of stacks that a test may harm."""
    running: list[RunningStack] = []

    def factory(
        *, state: Path | None = None, repository: Path | None = None, frontend: bool = True
    ) -> RunningStack:
        running.append(start(state or tmp_path_factory.mktemp("own-stack"), repository, frontend))
        return running[-1]

    yield factory
    for each in running:
        each.stop()
        orphans.reap(Identity.of(each.state))  # of a test that failed after it had killed a launcher
        shm.clean(each.shm_prefix)


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    """A Triton whose pipeline does what captions say; see tests/scripted.py."""
    from tests.scripted import Scripted, make

    folder = tmp_path_factory.mktemp("scripted")
    running = start(folder / "stack", make(folder), frontend=False)
    yield Scripted(running.triton_grpc, next((folder / "repository").rglob("model.py")).parent)
    assert running.stop() == 0, running.output


@pytest.fixture(scope="session")
async def chat_client(scripted: Scripted, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a chat API whose songs are scripted."""
    from frontend.chat.routes import create_app
    from tests.serving import served

    async with (
        scripted.frontend(tmp_path_factory.mktemp("chat")) as services,
        served(create_app(services)) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def toy_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of small models that start at once; see tests/toy_repository.py."""
    from tests import toy_repository  # imports onnx, which most tests do without

    return toy_repository.make(tmp_path_factory.mktemp("toys"))
