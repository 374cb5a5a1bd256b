"""What dies comes back, and what ends leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
from grpc.aio import AioRpcError
from tritonclient.utils import InferenceServerException

from embedded import orphans, shm, stubs
from embedded.identity import Identity
from embedded.triton_control import TritonControl, TritonError
from tests.conftest import RunningStack, StartStack, start
from tests.pipeline_client import sing

SONG = {"caption": "soft piano", "duration": 10.0, "seeds": [1], "steps": 1}
RECOVERY = 30.0
STOP = 40.0


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A whole stack to do harm to."""
    running = start(tmp_path_factory.mktemp("victim"), None, True)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def hung(tmp_path_factory: pytest.TempPathFactory, toy_repository: Path) -> Iterator[tuple[RunningStack, int]]:
    """A stack whose pipeline was made to hang, and its stub's pid; time passes while the other tests run."""
    running = start(tmp_path_factory.mktemp("hung"), toy_repository, False)
    old = stubs_of(running)["acestep"]
    control = TritonControl(running.triton_grpc)
    with pytest.raises(TritonError):
        control.ask("hang", 0.5)
    control.close()
    yield running, old
    running.stop()


def server_of(running: RunningStack) -> psutil.Process:
    children = psutil.Process(running.process.pid).children()
    return next(child for child in children if child.name() == "tritonserver")


def frontend_of(running: RunningStack) -> psutil.Process:
    for child in psutil.Process(running.process.pid).children():
        with contextlib.suppress(psutil.ZombieProcess):
            if "frontend" in child.cmdline():
                return child
    raise AssertionError("no frontend")


def stubs_of(running: RunningStack) -> dict[str, int]:
    return {stub.model: stub.pid for stub in stubs.running(server_of(running).pid)}


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def remains(running: RunningStack) -> list[str]:
    """Whatever of a stack is still there: processes and shared-memory files."""
    left = [f"pid {pid}" for pid in orphans.marked(Identity.of(running.state))]
    return left + [path.name for path in shm.files(running.shm_prefix)]


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Seconds it took; fails when it takes longer."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - started


def says(running: RunningStack, text: str) -> bool:
    return text in running.output


async def until_a_song_works(running: RunningStack) -> float:
    """Seconds from now until a song that was asked for came out whole."""
    started = time.monotonic()
    while True:
        with contextlib.suppress(InferenceServerException, AioRpcError):
            async with asyncio.timeout(RECOVERY):
                song = await sing(running.triton_grpc, **SONG)
                if song.error is None:
                    assert song.audio().shape == (2, 480_000)
                    return time.monotonic() - started
        assert time.monotonic() - started < RECOVERY, f"no song\n{running.output}"
        await asyncio.sleep(0.2)


@pytest.mark.usefixtures("hung")
async def test_songs_work_again_after_any_stub_is_killed(victim: RunningStack) -> None:
    """Each kind of stub that a song needs, one after the other."""
    for model, pid in sorted(stubs_of(victim).items()):
        if "tiny-base" not in model:
            os.kill(pid, signal.SIGKILL)
            back = until(partial(says, victim, f"{model}: its stub died; loaded again"), RECOVERY)
            print(f"{model}: loaded after {back:.1f} s, a song {await until_a_song_works(victim):.1f} s later")
            assert stubs_of(victim)[model] != pid


async def test_songs_work_again_after_all_stubs_are_killed_at_once(victim: RunningStack) -> None:
    before = stubs_of(victim)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    print(f"all: {await until_a_song_works(victim):.1f} s")
    until(lambda: stubs_of(victim).keys() == before.keys(), RECOVERY)


async def test_songs_work_again_after_the_server_is_killed(victim: RunningStack) -> None:
    old = stubs_of(victim)
    server_of(victim).kill()
    print(f"server: {await until_a_song_works(victim):.1f} s")
    assert not set(old.values()) & set(stubs_of(victim).values())
    assert not any(alive(pid) for pid in old.values())


def test_a_killed_frontend_comes_back(victim: RunningStack) -> None:
    frontend_of(victim).kill()

    def ready() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{victim.api}/readyz").status_code == 200
        return False

    until(ready, RECOVERY)


def test_interrupt_leaves_nothing_although_connections_stay_open(victim: RunningStack) -> None:
    """An idle HTTP keep-alive connection makes Triton wait for its exit timeout."""
    with httpx.Client() as triton, httpx.Client() as api:
        assert triton.get(f"http://{victim.triton_http}/v2/health/live").status_code == 200
        assert api.get(f"{victim.api}/health").status_code == 200
        started = time.monotonic()
        assert victim.stop() == 0, victim.output
        print(f"stop: {time.monotonic() - started:.1f} s")
        assert time.monotonic() - started < STOP
    assert remains(victim) == []
    assert not (victim.state / "stack.json").exists()


def test_a_pipeline_that_hangs_is_replaced(hung: tuple[RunningStack, int]) -> None:
    running, old = hung
    until(lambda: stubs_of(running).get("acestep", old) != old, RECOVERY)
    until(partial(says, running, "no answer to pings"), 5)
    TritonControl(running.triton_grpc).ping(5)


def test_nothing_outlives_a_killed_launcher_and_its_next_start(start_stack: StartStack, toy_repository: Path) -> None:
    """Only the launcher is killed: what can follow it does so by itself, the next start ends what cannot."""
    first = start_stack()
    server, frontend = server_of(first), frontend_of(first)
    old = [server.pid, frontend.pid, *stubs_of(first).values()]
    server.suspend()
    first.process.kill()
    first.process.wait()
    print(f"frontend gone after {until(lambda: not alive(frontend.pid), STOP):.1f} s")  # nobody else ends it here
    assert alive(server.pid), "nothing was left: this test tests nothing"
    assert shm.files(first.shm_prefix)
    started = time.monotonic()
    second = start_stack(state=first.state, repository=toy_repository, frontend=False)
    assert not any(alive(pid) for pid in old)
    mine = {each.pid for each in psutil.Process(second.pid).children(recursive=True)}
    assert set(orphans.marked(Identity.of(second.state))) <= mine
    assert len(shm.files(second.shm_prefix)) == len(stubs_of(second))
    assert time.monotonic() - started < STOP
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(STOP) == 0
    assert remains(second) == []


def test_a_server_follows_its_killed_launcher(start_stack: StartStack, toy_repository: Path) -> None:
    running = start_stack(repository=toy_repository, frontend=False)
    running.process.kill()
    running.process.wait()
    print(f"all gone after {until(lambda: remains(running) == [], STOP):.1f} s")
