"""The LM comes last and comes back, songs that need none of it go on, and nothing of its engine stays behind."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from embedded import orphans, stubs
from embedded.identity import Identity
from embedded.triton_control import TritonControl
from tests.conftest import ROOT, RunningStack, StartStack, start, wait_for_model
from tests.pipeline_client import sing
from tests.test_lifecycle import STOP, alive, remains, server_of, until
from tests.test_native_api import make
from tests.test_vllm_backend import GREEDY, ask, responses, tensors

SONG = {"caption": "soft piano", "duration": 10.0, "seeds": [1], "steps": 1}
TEN = {"audio_duration": 10, "batch_size": 1, "audio_format": "wav", "inference_steps": 1}
BACK = 180.0
LONG = GREEDY | {"max_tokens": 8000}


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A whole stack with an LM to do harm to."""
    running = start(tmp_path_factory.mktemp("lm-victim"), None, True, "vllm")
    wait_for_model(running, "lm")
    yield running
    running.stop()


def is_ready(running: RunningStack) -> bool:
    return httpx.get(f"http://{running.triton_http}/v2/models/lm/ready").status_code == 200


def stub_of(running: RunningStack) -> psutil.Process | None:
    found = [stub.pid for stub in stubs.running(server_of(running).pid) if stub.model == "lm"]
    return psutil.Process(found[0]) if found else None


def engine_of(running: RunningStack) -> dict[str, int]:
    """The processes of the LM: its stub and vLLM's engine core."""
    stub = stub_of(running)
    assert stub is not None
    found = {"stub": stub.pid}
    for child in stub.children(recursive=True):
        title = " ".join(child.cmdline())
        if title.startswith("VLLM::"):
            found[title.removeprefix("VLLM::").rstrip("\0 ")] = child.pid
    return found


def wait_until_back(running: RunningStack, old: dict[str, int]) -> None:
    """Until the LM is served by new processes; the old ones are gone then."""
    began = time.monotonic()
    until(lambda: (stub := stub_of(running)) is not None and stub.pid not in old.values() and is_ready(running), BACK)
    print(f"back after {time.monotonic() - began:.1f} s")
    assert not any(alive(pid) for pid in old.values())


def test_an_lm_that_does_not_load_is_tried_ever_more_rarely(
    start_stack: StartStack, toy_repository: Path, tmp_path: Path
) -> None:
    """And nothing else minds; each try begins anew."""
    folder = tmp_path / "repository"
    shutil.copytree(toy_repository / "acestep", folder / "acestep")
    shutil.copytree(ROOT / "model_repository" / "lm", folder / "lm")
    arguments = folder / "lm" / "1" / "model.json"
    arguments.write_text('{"model": "/nowhere"}')
    running = start_stack(repository=folder, frontend=False)
    said = "supervisor: lm does not load: model.json: 'model' must be the folder of a checkpoint, but /nowhere"
    until(lambda: f"{said} has no config.json; next try in 1 s" in running.output, 20)
    until(lambda: f"{said} has no config.json; next try in 2 s" in running.output, 20)
    arguments.write_text("no arguments")
    until(lambda: bool(re.search(r"lm does not load: model.json: not JSON .*; next try in \d s", running.output)), 30)
    TritonControl(running.triton_grpc).ping(5)
    until(lambda: stub_of(running) is None, 5)
    assert running.stop() == 0
    assert remains(running) == []


@asynccontextmanager
async def in_the_midst(running: RunningStack) -> AsyncIterator[asyncio.Task[int]]:
    """A request that is being written; the task ends with the number of its responses, or its error."""
    until(lambda: is_ready(running), BACK)
    async with InferenceServerClient(running.triton_grpc) as client:
        began = asyncio.Event()

        async def read() -> int:
            count = 0
            async for _ in responses(client, tensors(LONG, stream=True)):
                count += 1
                began.set()
            return count

        task = asyncio.create_task(read())
        await asyncio.wait_for(began.wait(), 20)
        yield task
        task.cancel()
        await asyncio.wait([task])


async def write_a_row(running: RunningStack) -> None:
    async with InferenceServerClient(running.triton_grpc) as client:
        (answer,) = await ask(client, GREEDY, return_num_output_tokens=True)
    assert answer["num_output_tokens"] == [12]


async def make_a_song(running: RunningStack) -> None:
    song = await sing(running.triton_grpc, **SONG)
    assert song.error is None
    assert song.audio().shape == (2, 480_000)


async def test_an_engine_that_is_killed_comes_back(stack: RunningStack) -> None:
    """Who asks is told at once. Until the LM is back it does not look healthy, and songs that need it wait."""
    old = engine_of(stack)
    assert old.keys() == {"stub", "EngineCore"}, old
    async with in_the_midst(stack) as row:
        began = time.monotonic()
        os.kill(old["EngineCore"], signal.SIGKILL)
        with pytest.raises(InferenceServerException, match="the LM engine died"):
            await asyncio.wait_for(row, 10)
        print(f"told after {time.monotonic() - began:.1f} s")
    until(lambda: not is_ready(stack), 10)
    await make_a_song(stack)
    songs_wait_for_the_lm_and_others_go_by(stack, old)
    await write_a_row(stack)


def songs_wait_for_the_lm_and_others_go_by(running: RunningStack, old: dict[str, int]) -> None:
    """A song that needs the LM is taken, and made when it is there; one that is better with it goes without."""
    known = TEN | {"caption": "x", "bpm": 90, "key_scale": "A minor", "time_signature": "3"}
    with httpx.Client(base_url=running.api, timeout=30) as api:
        job_id = api.post("/v1/music/generate", json=known | {"thinking": True}).json()["job_id"]
        without = make(api, **TEN, caption="x", lyrics="la")
        assert without["status"] == "succeeded", without
        assert "5 Hz LM: not ready; caption, language and missing metadata were left as given" in (
            without["result"]["generation_info"].split("\n"))
        waiting = api.get(f"/v1/jobs/{job_id}").json()
        assert (waiting["status"] in ("queued", "running"), waiting["error"]) == (True, None)
        assert not is_ready(running)
        wait_until_back(running, old)
        until(lambda: api.get(f"/v1/jobs/{job_id}").json()["status"] not in ("queued", "running"), BACK)
        made = api.get(f"/v1/jobs/{job_id}").json()
    assert made["status"] == "succeeded", made
    assert "LM wrote: audio codes" in made["result"]["generation_info"].split("\n")


@pytest.mark.slow
async def test_a_stub_that_is_killed_comes_back(victim: RunningStack) -> None:
    old = engine_of(victim)
    async with in_the_midst(victim):
        os.kill(old["stub"], signal.SIGKILL)
        wait_until_back(victim, old)
    await write_a_row(victim)


@pytest.mark.slow
async def test_a_server_that_is_killed_gets_its_lm_again(victim: RunningStack) -> None:
    old = engine_of(victim)
    server_of(victim).kill()
    until(lambda: "Triton is back, all models loaded but lm" in victim.output, BACK)
    await make_a_song(victim)
    wait_until_back(victim, old)
    await write_a_row(victim)


@pytest.fixture
def loading(tmp_path: Path) -> Iterator[RunningStack]:
    """A stack whose LM is not there yet."""
    running = start(tmp_path / "stack", None, True, "vllm")
    yield running
    running.stop()


def test_a_stack_is_ready_before_its_lm_and_a_stop_while_that_is_loaded_leaves_nothing(loading: RunningStack) -> None:
    assert "The 5 Hz LM (lm) is loading" in loading.output
    ready = httpx.get(f"{loading.api}/readyz").json()
    assert (ready["status"], ready["lm"]) == ("ok", "loading")
    asyncio.run(make_a_song(loading))
    until(lambda: (stub := stub_of(loading)) is not None and bool(stub.children()), BACK)
    engine = orphans.marked(Identity.of(loading.state))
    began = time.monotonic()
    assert loading.stop() == 0, loading.output
    print(f"stop: {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < STOP
    assert remains(loading) == []
    assert not any(map(alive, engine))
