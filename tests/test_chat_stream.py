"""Chat completions of scripted songs: the order of a stream, signs of life, errors, clients that leave, keys."""

# mypy: allow-untyped-calls

import asyncio
import base64
import io
import json
import time
from itertools import pairwise

import httpx
import openai
import pytest
import soundfile

from frontend.chat.reply import NOT_WRITTEN, content, describe, usage
from frontend.chat.routes import create_app
from frontend.jobs.job import State
from frontend.services import Services
from frontend.settings import resolve
from tests.scripted import ended
from tests.serving import served

PATH = "/v1/chat/completions"
DOT = {"content": "."}


def body(script, **fields):
    return {"messages": [{"role": "user", "content": f"<prompt>{script}</prompt>"}], **fields}


async def until(services, *wanted):
    """Returns when the jobs are in these states."""
    async with asyncio.timeout(20):
        while sorted(job.state for job in await services.store.list(10)) != sorted(wanted):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture
async def services(scripted, tmp_path):
    async with scripted.frontend(tmp_path, workers=1) as running:
        yield running
        assert {job.work.api for job in await running.store.list(100)} <= {"chat"}


@pytest.fixture
async def client(services):
    async with served(create_app(services)) as running:
        yield running


async def chunks(client, sent):
    """(seconds since the start, chunk) of a whole stream; the end mark is the text [DONE]."""
    heard = []
    begin = time.monotonic()
    async with client.stream("POST", PATH, json=sent | {"stream": True}) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        async for line in response.aiter_lines():
            if line:
                assert line.startswith("data: ")
                data = line.removeprefix("data: ")
                heard.append((time.monotonic() - begin, data if data == "[DONE]" else json.loads(data)))
    assert heard.pop()[1] == "[DONE]"
    return heard


def deltas(heard):
    """The deltas without the audio, and the finish reasons, of one stream whose chunks agree."""
    values = [chunk for _, chunk in heard]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in values}) == 1
    for chunk in values:
        assert list(chunk) == ["id", "object", "created", "model", "choices"]
        assert chunk["object"] == "chat.completion.chunk"
        assert list(chunk["choices"][0]) == ["index", "delta", "finish_reason"]
    choices = [chunk["choices"][0] for chunk in values]
    assert {choice["finish_reason"] for choice in choices[:-1]} == {None}
    return [choice["delta"] for choice in choices], choices[-1]["finish_reason"]


def songs(delta):
    """Seconds of each song in a delta or message with audio."""
    heads = {"mp3": "data:audio/mpeg;base64,", "flac": "data:audio/flac;base64,", "wav": "data:audio/wav;base64,"}
    lengths = []
    for part in delta["audio"]:
        assert part["type"] == "audio_url"
        url = part["audio_url"]["url"]
        [head] = [head for head in heads.values() if url.startswith(head)]
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(url.removeprefix(head), validate=True)))
        lengths.append(len(samples) / rate)
    return lengths


async def test_the_documents_order_without_a_lm(client):
    told, reason = deltas(await chunks(client, body("x", model="acemusic/some-model")))
    assert told[0] == {"role": "assistant", "content": ""}
    assert [list(delta) for delta in told[1:]] == [["audio"], []]
    assert songs(told[1]) == [pytest.approx(0.1, abs=0.05)]
    assert reason == "stop"


async def test_what_the_lm_wrote_comes_once_and_before_the_audio(client):
    script = "plan:bpm:_90 step:plan:1/1 meta step:denoise:1/8 fail:500 | plan:bpm:_90 meta"
    given = {"bpm": 90, "time_signature": "6", "duration": 30, "vocal_language": "en"}
    told, _ = deltas(await chunks(client, body(script, **given)))
    metadata = [delta["content"] for delta in told if "##" in delta.get("content", "")]
    assert metadata == [
        f"\n\n## Metadata\n**Caption:** {script}\n**BPM:** 90\n**Duration:** 30s\n"
        "**Time Signature:** 6/8\n**Language:** en"]
    assert [list(delta) for delta in told if delta not in (DOT, told[0])] == [["content"], ["audio"], []]


@pytest.mark.parametrize("script", ["meta step:denoise:1/8", "step:plan:0/1 meta step:denoise:1/8"])
async def test_metadata_is_not_shown_when_no_lm_ran(client, script):
    """The second one's LM was asked, and was not there."""
    told, _ = deltas(await chunks(client, body(script)))
    assert not any("##" in delta.get("content", "") for delta in told)


async def test_a_song_that_takes_long_is_kept_and_gives_signs_of_life(scripted, tmp_path):
    """For longer than a lease and a round of the reaper, queued or made."""
    async with (
        scripted.frontend(tmp_path, lease_seconds="2") as services,
        served(create_app(services)) as client,
    ):
        answering = asyncio.create_task(client.post(PATH, json=body("gate:long")))
        making = asyncio.create_task(chunks(client, body("plan:x meta step:denoise:1/8 gate:long")))
        await until(services, State.RUNNING, State.RUNNING)
        waiting = asyncio.create_task(chunks(client, body("plan:x meta")))
        await asyncio.sleep(3)
        scripted.open_gate("long")
        made, queued = await asyncio.gather(making, waiting)
        assert (await answering).status_code == 200
    for heard, is_queued in ((made, False), (queued, True)):
        told, reason = deltas(heard)
        assert reason == "stop"
        [written] = [i for i, delta in enumerate(told) if "##" in delta.get("content", "")]
        assert DOT in (told[:written] if is_queued else told[written:])
        times = [at for at, _ in heard]
        assert max(later - earlier for earlier, later in pairwise(times)) <= 3.0


async def test_a_batch_comes_in_one_delta(client):
    told, _ = deltas(await chunks(client, body("x", batch_size=3, audio_config={"format": "flac"})))
    assert [songs(delta) for delta in told if "audio" in delta] == [[0.1, 0.1, 0.1]]


async def test_every_event_is_one_line_to_every_reader_of_lines(client):
    told, _ = deltas(await chunks(client, body("plan:x meta a\u2028b\u2029c\x85d \U0001f3b5")))
    [metadata] = [delta["content"] for delta in told if "##" in delta.get("content", "")]
    assert "a\u2028b\u2029c\x85d \U0001f3b5" in metadata


async def test_files_go_when_their_answer_was_sent(client, services):
    assert (await client.post(PATH, json=body("x", batch_size=2))).status_code == 200
    assert "audio" in deltas(await chunks(client, body("y")))[0][1]
    async with asyncio.timeout(20):
        while any(services.folders.audio.iterdir()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    for job in await services.store.list(10):
        assert job.state is State.SUCCEEDED
        assert {await services.store.find_audio(path) for path in job.result["audio"]} == {None}


async def test_the_whole_answer(client, services):
    answer = await client.post(PATH, json=body("soft piano music", model="m", batch_size=2, audio_format="wav"))
    assert answer.headers["Content-Type"] == "application/json"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert b"\n" not in answer.content
    made = answer.json()
    assert list(made) == ["id", "object", "created", "model", "choices", "usage"]
    assert (len(made["id"]), made["id"][:9], made["object"], made["model"]) == (25, "chatcmpl-", "chat.completion", "m")
    [choice] = made["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert (choice["message"]["role"], choice["message"]["content"]) == ("assistant", NOT_WRITTEN)
    assert songs(choice["message"]) == [0.1, 0.1]
    assert made["usage"] == {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}


def test_what_is_said_of_a_song_that_a_lm_had_a_part_in():
    metadata = {"caption": "Upbeat pop song", "lyrics": "[Verse 1]\nHello world", "vocal_language": "en", "bpm": 120,
                "key_scale": "C major", "time_signature": "4", "duration": 30.0}
    lm = {"name": "lm", "engine": "vllm", "wrote": ["bpm"], "prompt_tokens": 40, "completion_tokens": 60}
    assert content({"metadata": metadata, "lm": lm}) == (
        "## Metadata\n**Caption:** Upbeat pop song\n**BPM:** 120\n**Duration:** 30s\n**Key:** C major\n"
        "**Time Signature:** 4/4\n**Language:** en\n\n## Lyrics\n[Verse 1]\nHello world")
    assert describe(metadata | {"lyrics": "[Instrumental]", "bpm": None, "key_scale": "", "duration": 12.345}) == (
        "## Metadata\n**Caption:** Upbeat pop song\n**Duration:** 12.35s\n**Time Signature:** 4/4\n**Language:** en")
    assert usage({"lm": lm}, "three words here") == {
        "prompt_tokens": 40, "completion_tokens": 60, "total_tokens": 100}


async def test_an_error_in_mid_stream_ends_with_the_documented_chunks(client):
    told, reason = deltas(await chunks(client, body("plan:x meta fail:400")))
    assert told[-2:] == [{"content": "\n\nError: caption: told to fail"}, {}]
    assert reason == "error"


async def test_a_failed_song_is_made_once_for_the_sdks(client, services, scripted):
    sdk = openai.AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key="x")
    with pytest.raises(openai.InternalServerError) as error:
        await sdk.chat.completions.create(model="m", **body("fail:500 | fail:500 | fail:500"))
    line = "Generation failed: caption: told to fail"
    assert error.value.body == {"message": line, "type": "server_error", "code": 500}
    assert error.value.response.json()["detail"] == line
    with pytest.raises(openai.BadRequestError, match="caption: told to fail"):
        await sdk.chat.completions.create(model="m", **body("fail:400"))
    assert len(await services.store.list(10)) == 2
    stream = await sdk.chat.completions.create(model="m", stream=True, **body("fail:400"))
    heard = [chunk.choices[0] async for chunk in stream]
    assert (heard[-2].delta.content, heard[-1].finish_reason) == ("\n\nError: caption: told to fail", "error")
    await sdk.close()


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_client_that_leaves_cancels_its_song(client, services, scripted, is_stream):
    answering = asyncio.create_task(client.post(PATH, json=body("gate:never", stream=is_stream)))
    while not (jobs := await services.store.list(1)) or not scripted.attempts(jobs[0].id):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    answering.cancel()
    begin = time.monotonic()
    job = await ended(services, jobs[0].id)
    while not scripted.was_cancelled(job.id):  # noqa: ASYNC110  another process tells
        await asyncio.sleep(0.01)
    assert time.monotonic() - begin < 20
    assert (job.state, job.error_code, job.error) == (State.FAILED, "cancelled", "The client left")


async def test_a_client_that_leaves_the_queue_leaves_no_job_behind(client, services, scripted):
    made = asyncio.create_task(client.post(PATH, json=body("gate:one")))
    await until(services, State.RUNNING)
    answering = [asyncio.create_task(client.post(PATH, json=body(f"x {i}"))) for i in range(5)]
    await until(services, State.RUNNING, *[State.QUEUED] * 5)
    for i, task in enumerate(answering):
        task.cancel()
        await asyncio.sleep(0.01 * i)
    await until(services, State.RUNNING, *[State.FAILED] * 5)
    scripted.open_gate("one")
    assert (await made).status_code == 200
    states = {job.work.song["caption"]: job.state for job in await services.store.list(10)}
    assert states == {"gate:one": State.SUCCEEDED} | {f"x {i}": State.FAILED for i in range(5)}


async def test_a_stop_answers_clients_that_wait_and_ends_their_songs(services, caplog):
    async with httpx.AsyncClient(timeout=30) as other, served(create_app(services)) as client:
        url = f"{client.base_url}{PATH}"
        busy = "step:denoise:1/99 wait:0.3 " * 60
        whole, stream = (asyncio.create_task(other.post(url, json=body(busy, stream=is_stream)))
                         for is_stream in (False, True))
        while len(await services.store.list(2)) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        services.stopping.set()  # served() stops the listener at the same time
    assert ((await whole).status_code, (await whole).headers["Retry-After"]) == (503, "5")
    assert "Error: The server is stopping" in (await stream).text
    assert (await stream).text.endswith("data: [DONE]\n\n")
    assert [job.error_code for job in await services.store.list(2)] == ["cancelled"] * 2
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_request_that_passes_its_deadline(scripted, tmp_path):
    async with (
        scripted.frontend(tmp_path, workers=2, generation_timeout="1") as services,
        served(create_app(services)) as client,
    ):
        late = "The song was not ready within 1 seconds"
        answer, heard = await asyncio.gather(
            client.post(PATH, json=body("gate:never")), chunks(client, body("gate:never")))
        assert (answer.status_code, answer.json()["detail"]) == (504, late)
        assert answer.headers["x-should-retry"] == "false"
        told, reason = deltas(heard)
        assert (told[-2:], reason) == ([{"content": f"\n\nError: {late}"}, {}], "error")
        jobs = await services.store.list(10)
        assert [(job.state, job.error_code) for job in jobs] == [(State.FAILED, "expired")] * 2
        assert (await client.post(PATH, json=body("x"))).status_code == 200


async def test_a_full_queue_is_429_with_a_time(scripted, tmp_path):
    async with (
        scripted.frontend(tmp_path, workers=0, queue_maxsize="1") as services,
        served(create_app(services)) as client,
    ):
        waiting = asyncio.create_task(client.post(PATH, json=body("x")))
        while not await services.store.list(1):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for is_stream in (False, True):
            answer = await client.post(PATH, json=body("x", stream=is_stream))
            assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate_limit_error")
            assert int(answer.headers["Retry-After"]) >= 1
        waiting.cancel()


async def test_before_the_models_are_ready(tmp_path):
    settings = resolve({"state": str(tmp_path), "triton_url": "127.0.0.1:9"}, {}, {})
    async with Services(settings) as services, served(create_app(services)) as client:
        for answer in (await client.post(PATH, content=b"no json"), await client.get("/api/v1/models")):
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert (await client.get("/health")).status_code == 200


async def test_a_key_closes_everything_but_health(scripted, tmp_path):
    async with (
        scripted.frontend(tmp_path, workers=1, api_key="sk-1") as services,
        served(create_app(services)) as client,
    ):
        places = [("POST", PATH), ("POST", f"/api{PATH}"), ("GET", "/api/v1/models"), ("GET", "/v1/models"),
                  ("GET", "/nowhere")]
        for method, path in places:
            for headers, line in (({}, "Missing Authorization header"),
                                  ({"Authorization": "Bearer sk-2"}, "Invalid API key")):
                answer = await client.request(method, path, headers=headers, content=b"{")
                assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
                error = {"message": line, "type": "authentication_error", "code": 401}
                assert answer.json() == {"detail": line, "error": error}
        assert (await client.get("/health")).status_code == 200
        sdk = openai.AsyncOpenAI(base_url=f"{client.base_url}/api/v1", api_key="sk-1")
        assert (await sdk.models.list()).data[0].id == "acemusic/acestep-v1.5-turbo"
        assert (await sdk.chat.completions.create(model="m", **body("x"))).choices[0].finish_reason == "stop"
        await sdk.close()


@pytest.mark.parametrize(("sent", "status", "line"), [
    (b"{", 400, "Invalid JSON: "), (b"[]", 400, "JSON payload must be an object"),
    (b"\xff", 400, "Invalid JSON: "), (b"{}", 400, "No input provided in messages"),
    (b'{"messages": []}', 400, "No input provided in messages"), (b" " * 1_100_000, 413, "Request body too large"),
])
async def test_bodies_that_cannot_be_read(client, sent, status, line):
    answer = await client.post(PATH, content=sent, headers={"Content-Type": "application/json; charset=utf-8"})
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(line)
    assert answer.json()["error"]["message"] == answer.json()["detail"]


async def test_other_paths_and_methods_have_the_same_shape(client):
    for method, path, status in (("GET", PATH, 405), ("GET", "/nowhere", 404), ("POST", "/v1/models", 405)):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)
