"""Triton comes back with other models: what is served, how many songs are in flight and what files say follows."""

# mypy: allow-untyped-calls

import asyncio
from functools import partial

import numpy as np
import pytest
import soundfile

from frontend import services as module
from frontend.native.routes import create_app
from frontend.services import Services
from frontend.settings import resolve
from frontend.songs.events import Audio, Done
from tests.scripted import ended
from tests.support.waiting import until
from tests.test_native_fields import BASE, DESCRIBED, TURBO

OTHER = {**BASE, "name": "other-base", "audio_is_noise": False}
LM = {"name": "lm-a", "duration_max": 60}


class FakeSongs:
    """A pipeline that says `described` of itself, and holds songs until `gate` is set."""

    def __init__(self, described):
        self.described = described
        self.missing = set()
        self.gate = asyncio.Event()
        self.running = self.most = 0

    async def describe(self):
        return self.described

    async def models_missing(self, names):
        return [name for name in names if name in self.missing]

    async def song(self, request, song_id, audio):
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        yield Audio(0, 0, np.full((2, 4_800), 0.1, np.float32))
        yield Done(request["model"], tuple(request["seeds"]), 10.0, (1.0,), (0.1,), dict.fromkeys(
            ("plan", "codes", "condition", "denoise", "decode"), 0.0), (), {"caption": "x"})

    async def close(self):
        pass


@pytest.fixture
async def services(tmp_path, monkeypatch):
    """A frontend of a pipeline that takes two songs of a turbo and a base model."""
    monkeypatch.setattr(module, "_REFRESH_SECONDS", 0.02)
    services = Services(resolve({"state": str(tmp_path)}, {}, {}))
    await services.songs.close()
    services.songs = FakeSongs(DESCRIBED | {"capacity": 2, "lm": LM})  # type: ignore[assignment]
    async with services:
        await until(lambda: services.engines_seen)
        yield services


async def submit(services, **fields):
    body = {"caption": "x", "batch_size": 1, "audio_format": "wav", **fields}
    answer = await create_app(services).test_client().post("/v1/music/generate", json=body)
    return await answer.get_json()


async def test_models_facts_and_tags_follow(services):
    services.songs.gate.set()
    first = await ended(services, (await submit(services))["job_id"])
    assert first.result is not None
    assert first.result["lm_model"] == "lm-a"
    assert "random weights" in comment(services, first)

    services.songs.missing = {"lm"}
    services.songs.described = DESCRIBED | {
        "models": [OTHER], "default": "other-base", "capacity": 2, "lm": LM | {"name": "lm-b"}, "embedded": False}
    await until(lambda: services.catalogue.default == "other-base")
    refused = await submit(services, model=TURBO["name"])
    assert refused == {"detail": "model: must be one of other-base"}
    second = await ended(services, (await submit(services, task_type="text2music", inference_steps=50))["job_id"])
    assert second.result is not None
    assert (second.result["model"], second.result["lm_model"]) == ("other-base", "lm-b")
    assert comment(services, second) == f"AI-generated; model other-base; seed {second.result['seeds'][0]}"
    assert services.engines_seen == frozenset(), "the other LM was never ready"
    services.songs.missing = set()
    await until(lambda: services.engines_seen == {"vllm"})


def comment(services, job):
    return soundfile.SoundFile(services.folders.audio / job.result["audio"][0].removeprefix("/audio/")).comment


async def test_who_asks_whether_it_is_ready_is_served_what_it_was_told(services, monkeypatch):
    monkeypatch.setattr(module, "_REFRESH_SECONDS", 3600)
    await asyncio.sleep(0.03)  # the watcher rests
    services.songs.described = services.songs.described | {"models": [OTHER], "default": "other-base"}
    answer = await create_app(services).test_client().get("/readyz")
    assert (await answer.get_json())["models"] == ["other-base"]
    assert "job_id" in await submit(services, model="other-base")


async def test_the_number_of_songs_in_flight_follows(services):
    jobs = [(await submit(services))["job_id"] for _ in range(7)]
    await until(lambda: services.songs.running == 2)
    services.songs.described = services.songs.described | {"capacity": 5}
    await until(lambda: services.songs.running == 5)
    assert services.in_flight() == 5

    services.songs.described = services.songs.described | {"capacity": 1}
    await until(lambda: services.in_flight() == 1)
    assert services.songs.running == 5, "what runs is not given up"
    services.songs.gate.set()
    for job_id in jobs:
        await ended(services, job_id)
    services.songs.gate.clear()
    services.songs.most = 0
    more = [(await submit(services))["job_id"] for _ in range(3)]
    await until(lambda: services.songs.running == 1)
    await asyncio.sleep(0.1)
    services.songs.gate.set()
    for job_id in more:
        await ended(services, job_id)
    assert services.songs.most == 1


async def test_fewer_workers_lose_no_call(services):
    """A worker whose place is gone hands on the call that it took: the job does not wait for the next look."""
    services.songs.gate.set()
    for capacity in (5, 1, 4, 1):
        services.songs.described = services.songs.described | {"capacity": capacity}
        await until(partial(lambda capacity: services.in_flight() == capacity, capacity))
        job = await ended(services, (await submit(services))["job_id"])
        assert str(job.state) == "succeeded"
