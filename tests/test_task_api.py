"""Upstream's later routes: /release_task, /query_result, /format_input, /v1/stats, as its clients use them."""

# mypy: allow-untyped-calls

import asyncio
import io
import json
import time

import httpx
import numpy as np
import pytest
import soundfile

from frontend.native.routes import create_app
from frontend.native.task_fields import read_task
from tests.scripted import ended
from tests.serving import served

WRAPPER = ["data", "code", "error", "timestamp", "extra"]
SUCCEEDED = ["file", "wave", "status", "create_time", "env", "prompt", "lyrics", "metas", "generation_info",
             "seed_value", "lm_model", "dit_model", "progress", "stage", "audio_codes"]


@pytest.fixture
async def services(scripted, tmp_path):
    async with scripted.frontend(tmp_path, workers=1) as running:
        yield running


@pytest.fixture
async def client(services):
    async with served(create_app(services)) as running:
        yield running


async def data(client, path, method="POST", **sent):
    """What an answer wraps."""
    answer = await client.request(method, path, **sent)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert list(body) == WRAPPER
    assert (body["code"], body["error"], body["extra"]) == (200, None, None)
    assert abs(body["timestamp"] / 1000 - time.time()) < 60
    return body["data"]


async def release(client, **fields):
    released = await data(client, "/release_task", json={"audio_format": "wav"} | fields)
    assert list(released) == ["task_id", "status", "queue_position"]
    assert (released["status"], released["queue_position"]) == ("queued", 1)
    return released["task_id"]


async def query(client, *ids):
    return await data(client, "/query_result", json={"task_id_list": list(ids)})


async def test_a_task_from_its_release_to_its_audio(client, services):
    task = await release(client, prompt="a waltz", lyrics="la", bpm=120, key="A minor", duration=30, seed="1,2",
                         use_random_seed=False)
    await ended(services, task)
    [entry] = await query(client, task)
    assert list(entry) == ["task_id", "status", "result"]
    assert (entry["task_id"], entry["status"]) == (task, 1)
    first, second = json.loads(entry["result"])
    assert list(first) == SUCCEEDED
    assert (first["prompt"], first["lyrics"], first["seed_value"], first["status"]) == ("a waltz", "la", "1,2", 1)
    assert first["metas"] == {
        "bpm": 120, "duration": 30, "genres": "", "keyscale": "A minor", "timesignature": ""}
    assert first["dit_model"] == "tiny-turbo"
    for result in (first, second):
        samples, rate = soundfile.read(io.BytesIO((await client.get(result["file"])).content))
        assert (samples.shape, rate) == ((4800, 2), 48_000)
    record = (await client.get(f"/v1/jobs/{task}")).json()
    assert record["result"]["audio_paths"] == [first["file"], second["file"]], "a task is a job"


async def test_tasks_in_every_state(client, services, scripted):
    failed = await release(client, prompt="fail:400")
    await ended(services, failed)
    running = await release(client, prompt="step:denoise:4/8 gate:states")
    async with asyncio.timeout(10):
        while (await services.store.get(running)).progress is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    queued = await release(client, prompt="x")
    entries = await query(client, failed, running, queued, "unknown")
    assert [entry["status"] for entry in entries] == [2, 0, 0, 2]
    results = [json.loads(entry["result"])[0] for entry in entries]
    assert [result["file"] for result in results] == [""] * 4
    assert (results[0]["error"], results[0]["error_code"]) == ("caption: told to fail", "invalid_request")
    assert (results[1]["stage"], results[1]["progress"]) == ("denoise", 0.42)
    assert (results[2]["stage"], results[2]["progress"]) == ("queued", 0)
    assert results[3] == {"file": "", "status": 2, "error": "Job not found"}
    scripted.open_gate("states")
    await ended(services, queued)


@pytest.mark.parametrize("sent", [
    {"json": {"task_id_list": '["a", "b"]'}}, {"data": {"task_id_list": '["a", "b"]'}},
    {"json": {"task_id_list": ["a", "b"]}}, {"json": {"taskIdList": ["a", "b"]}},
])
async def test_the_list_of_ids_may_be_text(client, sent):
    assert [entry["task_id"] for entry in await data(client, "/query_result", **sent)] == ["a", "b"]


@pytest.mark.parametrize("ids", [None, "a", "[1]", [1], {"a": 1}, ["x"] * 101, "[" * 100_000])
async def test_what_is_no_list_of_ids_is_refused(client, ids):
    answer = await client.post("/query_result", json={"task_id_list": ids})
    assert (answer.status_code, answer.json()) == (
        400, {"detail": "task_id_list: must be a list of at most 100 task ids"})


@pytest.mark.parametrize(("source", "reference"), [
    ("ctx_audio", "ref_audio"), ("ctxAudio", "refAudio"), ("srcAudio", "referenceAudio")])
async def test_forms_and_files_under_the_later_names(client, services, source, reference):
    file = io.BytesIO()
    soundfile.write(file, np.zeros((48_000, 2)), 48_000, format="WAV")
    answer = await client.post(
        "/release_task", data={"prompt": "x", "task_type": "cover", "cover_strength": "0.5"},
        files={source: ("a", file.getvalue()), reference: ("b", file.getvalue())},
        headers={"Idempotency-Key": "once"})
    job = await ended(services, answer.json()["data"]["task_id"])
    assert (job.work.song["task"], job.work.song["cover_strength"]) == ("cover", 0.5)
    assert sorted(job.work.uploads) == ["reference_audio", "src_audio"]


def test_the_later_names_come_after_the_documented_ones():
    fields = read_task({
        "language": "ja", "vocal_language": "de", "key": "Am", "model_name": "m", "instruments": "drums",
        "param_obj": '{"duration": 50, "language": "fr", "bpm": 70, "seed": 5, "key": "C"}',
        "metas": {"bpm": 80, "time_signature": "3"},
    })
    read = {name: fields[name] for name in (
        "vocal_language", "key_scale", "model", "track_classes", "audio_duration", "bpm", "seed", "time_signature")}
    assert read == {
        "vocal_language": "de", "key_scale": "A minor", "model": "m", "track_classes": ("drums",),
        "audio_duration": 50.0, "bpm": 70, "seed": (5,), "time_signature": "3"}
    for broken in ("{", "[]", 5, None):
        assert read_task({"bpm": 90, "param_obj": broken})["bpm"] == 90


def test_every_name_may_be_camel_case_in_every_place():
    for name, value in (("audioCodes", "<|audio_code_7|>"), ("coverStrength", 0.5), ("modelName", "m"),
                        ("refAudioPath", "a"), ("ctxAudioPath", "b"), ("cotCaption", False)):
        for body in ({name: value}, {"paramObj": {name: value}}, {"paramObj": json.dumps({name: value})},
                     {"metas": {name: value}}, {"userMetadata": {name: value}}):
            assert list(read_task(body).sent.values()) == [name], body
    assert read_task({"param_obj": {"bpm": 60}, "paramObj": {"bpm": 70}})["bpm"] == 60
    assert read_task({"param_obj": None, "paramObj": {"bpm": 70}})["bpm"] == 70


async def test_errors_are_everybodys(client):
    for path, body, detail in (
        ("/release_task", {"prompt": "x", "bpm": 1}, "bpm: must be between 30 and 300"),
        ("/release_task", {}, "caption: give a caption"),
        ("/query_result", {}, "task_id_list: must be a list of at most 100 task ids"),
        ("/query_result", {"taskIdList": 5}, "taskIdList: must be a list of at most 100 task ids"),
        ("/format_input", {"prompt": "x", "use_format": False}, "use_format: needs the 5 Hz LM, which is not loaded"),
    ):
        answer = await client.post(path, json=body)
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(detail)
        assert list(answer.json()) == ["detail"]
    for path in ("/release_task", "/query_result", "/format_input"):
        assert (await client.post(path, content=b"x")).status_code == 415
        assert (await client.get(path)).status_code == 405


async def test_format_input_answers_with_what_the_lm_writes(scripted, tmp_path):
    async with (
        scripted.frontend(tmp_path / "with-lm", workers=0, lm=True) as services,
        served(create_app(services)) as client,
    ):
        sent = {"prompt": "pop", "lyrics": "la", "temperature": 0, "param_obj": '{"duration": 20, "language": "ja"}'}
        assert await data(client, "/format_input", json=sent) == {
            "caption": "better pop", "lyrics": "la", "bpm": 101, "key_scale": "", "time_signature": "",
            "duration": 20.0, "vocal_language": "ja"}
        assert (await client.post("/format_input", json={"prompt": " "})).json()["detail"].startswith("caption: give")
        assert not await services.store.list(1), "it is no job"


@pytest.fixture
async def lm_client(scripted, tmp_path):
    """A client of a frontend with an LM, which gives up after a second."""
    async with (
        scripted.frontend(tmp_path / "with-lm", workers=0, lm=True, generation_timeout="1") as services,
        served(create_app(services)) as client,
    ):
        yield client


def format_input(client, prompt):
    return asyncio.create_task(client.post("/format_input", json={"prompt": prompt}))


async def refused(answer):
    answer = await answer
    assert list(answer.json()) == ["detail"]
    return answer.status_code, answer.json()["detail"], answer.headers.get("Retry-After")


@pytest.mark.parametrize(("prompt", "expected"), [
    ("fail:400", (400, "caption: told to fail", None)), ("fail:500", (500, "caption: told to fail", None)),
    ("fail:503", (503, "caption: told to fail", "5")), ("fail:504", (503, "caption: told to fail", "5")),
])
async def test_what_the_lm_cannot_write_is_said(lm_client, prompt, expected):
    assert await refused(format_input(lm_client, prompt)) == expected


async def test_few_texts_are_written_at_a_time(lm_client, scripted):
    waiting = {format_input(lm_client, "gate:texts") for _ in range(6)}
    for _ in range(2):  # the gate holds all others
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        for answer in done:
            assert await refused(answer) == (429, "Server busy: 4 texts are being written", "5")
        if len(waiting) == 4:
            break
    assert len(waiting) == 4
    scripted.open_gate("texts")
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert (await format_input(lm_client, "x")).status_code == 200


async def test_a_text_that_hangs_is_given_up(lm_client, scripted):
    hanging = [format_input(lm_client, "gate:never") for _ in range(4)]
    for answer in hanging:
        assert await refused(answer) == (504, "The text was not ready within 1 seconds", None)
    async with asyncio.timeout(10):
        while not scripted.was_cancelled(""):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await format_input(lm_client, "x")).status_code == 200


async def test_who_leaves_makes_room_for_another_text(scripted, tmp_path):
    async with (
        scripted.frontend(tmp_path / "with-lm", workers=0, lm=True) as services,
        served(create_app(services)) as client,
        httpx.AsyncClient(base_url=client.base_url, trust_env=False) as leaving,
    ):
        asked = [format_input(leaving, "gate:never") for _ in range(5)]
        done, hanging = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        assert [answer.result().status_code for answer in done] == [429]
        for answer in hanging:
            answer.cancel()
        await asyncio.wait(hanging)
        async with asyncio.timeout(10):
            while (await format_input(client, "x")).status_code == 429:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_statistics(client, services, scripted):
    assert await stats(client) == {
        "jobs": {"queued": 0, "running": 0}, "queue_size": 0, "queue_maxsize": 200, "avg_job_seconds": 5.0}
    ended_one = await release(client, prompt="x")
    await ended(services, ended_one)
    tasks = [(await data(client, "/release_task", json={"prompt": prompt}))["task_id"]
             for prompt in ("gate:stats", "x", "x")]
    async with asyncio.timeout(10):
        while (await stats(client))["jobs"] != {"queued": 2, "running": 1}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    shown = await stats(client)
    record = (await client.get(f"/v1/jobs/{ended_one}")).json()
    assert shown["queue_size"] == 2
    assert shown["avg_job_seconds"] == pytest.approx(record["finished_at"] - record["started_at"])
    scripted.open_gate("stats")
    await ended(services, tasks[-1])


async def stats(client):
    return await data(client, "/v1/stats", method="GET")


async def test_texts_are_written_by_the_pipeline(services):
    song = {"caption": "pop", "lyrics": "la", "vocal_language": "en", "bpm": None, "key_scale": "",
            "time_signature": "", "duration": None}
    written = await services.songs.write({**song, "kind": "format"})
    assert (written["caption"], written["bpm"], written["lyrics"]) == ("better pop", 101, "la")
