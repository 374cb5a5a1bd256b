"""A job followed live over server-sent events: what comes, in which order, and what a follower that comes back gets."""

# mypy: allow-untyped-calls

import asyncio

import pytest

from frontend.jobs.job import Progress
from frontend.live import Live, Retrying, Started
from frontend.native import events
from frontend.native.routes import create_app
from frontend.progress import percent
from frontend.songs.events import Planning, Step
from tests.scripted import ended
from tests.serving import SentEvent, sent_events, served
from tests.support.waiting import until

BODY = {"batch_size": 1, "audio_format": "wav", "use_random_seed": False, "seed": 1}


@pytest.fixture
async def services(scripted, tmp_path):
    async with scripted.frontend(tmp_path, workers=1) as running:
        yield running


@pytest.fixture
async def client(services):
    async with served(create_app(services)) as running:
        yield running


@pytest.fixture
def nobody_claims(scripted, tmp_path):
    """A frontend with the key `key` whose jobs wait."""
    return scripted.frontend(tmp_path, workers=0, native_api_key="key")


KEY = {"Authorization": "Bearer key"}


async def submit(client, script):
    answer = await client.post("/v1/music/generate", json=BODY | {"caption": script})
    assert answer.status_code == 200, answer.text
    return answer.json()["job_id"]


async def follow(client, job_id, last=None, to=None, heard=None):
    """The events to the end, or to the first one named `to`; they are put into `heard` as they come."""
    headers = {} if last is None else {"Last-Event-ID": last}
    heard = [] if heard is None else heard
    async with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        async for event in sent_events(response):
            if isinstance(event, SentEvent):
                heard.append(event)
                if event.name == to:
                    break
    return heard


async def test_a_song_from_the_queue_to_its_record(client, scripted):
    first = await submit(client, "gate:one")
    second = await submit(client, "meta plan:bpm:_120 step:denoise:1/8 step:denoise:8/8 step:decode:1/1 | x")
    heard: list[SentEvent] = []
    following = asyncio.create_task(follow(client, second, heard=heard))
    await until(lambda: heard)
    scripted.open_gate("one")
    await asyncio.wait_for(following, 20)
    names = [event.name for event in heard]
    assert names[:2] == ["queued", "running"]
    assert heard[0].data == {"queue_position": 1}
    assert [name for name in names if name != "progress"] == ["queued", "running", "metadata", "planning", "succeeded"]
    assert next(event.data["caption"] for event in heard if event.name == "metadata").startswith("meta plan")
    assert next(event.data for event in heard if event.name == "planning") == {"text": "bpm: 120"}
    steps = [event.data for event in heard if event.name == "progress"]
    assert steps[-1] == {"phase": "write", "done": 0, "total": 1, "percent": 96}
    assert {"phase": "denoise", "done": 8, "total": 8, "percent": 75} in steps
    assert [step["percent"] for step in steps] == sorted(step["percent"] for step in steps)
    assert heard[-1].data == (await client.get(f"/v1/jobs/{second}")).json()
    assert (await client.get(f"/v1/jobs/{first}")).json()["status"] == "succeeded"


async def test_positions_are_told_as_they_change(client, scripted):
    jobs = [await submit(client, script) for script in ("gate:positions", "x", "x", "x")]
    heard: list[SentEvent] = []
    following = asyncio.create_task(follow(client, jobs[-1], heard=heard))
    await until(lambda: len(heard) == 1)
    assert (await client.delete(f"/v1/jobs/{jobs[1]}")).json()["error_code"] == "cancelled"
    await until(lambda: len(heard) == 2)
    scripted.open_gate("positions")
    await asyncio.wait_for(following, 20)
    assert [event.data["queue_position"] for event in heard if event.name == "queued"][:2] == [3, 2]


async def test_a_follower_that_comes_back_misses_and_hears_nothing_twice(client, scripted):
    job_id = await submit(client, "plan:a plan:b gate:half plan:c step:denoise:1/8 plan:d")
    part = await follow(client, job_id, to="planning")
    assert [event.data["text"] for event in part if event.name == "planning"] == ["a"]
    scripted.open_gate("half")
    rest = await follow(client, job_id, last=part[-1].id)
    whole = await follow(client, job_id, last="of-another-process")
    said = [event for event in part + rest if event.id]
    assert said == whole
    assert [event.data["text"] for event in said if event.name == "planning"] == ["a", "b", "c", "d"]
    assert len({event.id for event in said}) == len(said)
    answer = await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": said[-1].id})
    assert (answer.status_code, answer.content) == (204, b""), "an EventSource stops coming back"


async def test_an_attempt_that_failed_is_told(client):
    job_id = await submit(client, "plan:old fail:500 | plan:new")
    heard = await follow(client, job_id)
    names = [event.name for event in heard if event.name in ("running", "planning", "retrying", "succeeded")]
    assert names == ["running", "planning", "retrying", "running", "planning", "succeeded"]
    retry = next(event.data for event in heard if event.name == "retrying")
    assert retry == {"reason": "caption: told to fail", "seconds": 1.0}


async def test_failures_and_cancels_end_the_stream(client):
    failed = await follow(client, await submit(client, "fail:400"))
    assert (failed[-1].name, failed[-1].data["error"], failed[-1].data["error_code"]) == (
        "failed", "caption: told to fail", "invalid_request")
    job_id = await submit(client, "wait:60")
    heard: list[SentEvent] = []
    following = asyncio.create_task(follow(client, job_id, heard=heard))
    await until(lambda: [event.name for event in heard][-1:] == ["running"])
    cancelled = (await client.delete(f"/v1/jobs/{job_id}")).json()
    assert (cancelled["status"], cancelled["error"]) == ("failed", "Cancelled")
    assert (await asyncio.wait_for(following, 20))[-1].data == cancelled
    assert (await client.delete(f"/v1/jobs/{job_id}")).json() == cancelled, "an ended job is left as it is"


async def test_jobs_of_an_earlier_process_are_told_by_their_end(scripted, tmp_path):
    async with scripted.frontend(tmp_path) as first, served(create_app(first)) as client:
        job_id = await submit(client, "x")
        await ended(first, job_id)
    async with scripted.frontend(tmp_path, workers=0) as second, served(create_app(second)) as client:
        assert [event.name for event in await follow(client, job_id)] == ["succeeded"]
        for answer in (await client.get("/v1/jobs/nope/events"), await client.delete("/v1/jobs/nope")):
            assert (answer.status_code, answer.json()) == (404, {"detail": "Job not found"})


async def test_silence_is_filled_and_a_follower_that_leaves_is_forgotten(client, services, monkeypatch):
    monkeypatch.setattr(events, "_KEEP_ALIVE_SECONDS", 0.1)
    job_id = await submit(client, "wait:60")
    async with client.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        comments = 0
        async for event in sent_events(response):
            comments += isinstance(event, str)
            if comments == 5:
                break
        assert services.live.followers() == 1
    await until(lambda: not services.live.followers())
    job = await services.store.get(job_id)
    assert str(job.state) == "running", "the job goes on"
    await services.cancel(job_id)


async def test_every_event_is_one_line_by_anybodys_reckoning(client):
    job_id = await submit(client, "meta x\u2028y\x85z\u2029")
    heard = await follow(client, job_id)
    assert [event.data["caption"] for event in heard if event.name == "metadata"] == ["meta x\u2028y\x85z\u2029"]


async def test_head_is_answered_at_once_and_follows_nobody(nobody_claims):
    async with nobody_claims as services, served(create_app(services), headers=KEY) as client:
        job_id = await submit(client, "x")
        async with asyncio.timeout(5):
            answer = await client.head(f"/v1/jobs/{job_id}/events")
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert services.live.followers() == 0
            for path in (f"/v1/jobs/{job_id}", "/v1/jobs", "/v1/models", "/metrics", "/docs", "/health"):
                answer = await client.head(path)
                assert (answer.status_code, answer.content) == (200, b""), path
            assert (await client.head("/v1/jobs/nope/events")).status_code == 404


async def test_who_has_heard_the_end_of_a_job_that_waits_has_not(nobody_claims):
    async with nobody_claims as services, served(create_app(services), headers=KEY) as client:
        job_id = await submit(client, "x")
        [event] = await follow(client, job_id, last="end", to="queued")
        assert event.data == {"queue_position": 1}
        await services.cancel(job_id)
        answer = await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "end"})
        assert (answer.status_code, answer.content) == (204, b"")


async def test_the_list_of_jobs(scripted, tmp_path):
    async with scripted.frontend(tmp_path, native_api_key="key") as services, served(
            create_app(services), headers=KEY) as client:
        jobs = [await submit(client, script) for script in ("x", "fail:400", "wait:60")]
        await ended(services, jobs[0])
        await ended(services, jobs[1])
        listed = (await client.get("/v1/jobs")).json()["jobs"]
        assert [job["job_id"] for job in listed] == jobs[::-1]
        assert listed[-1] == (await client.get(f"/v1/jobs/{jobs[0]}")).json()

        async def ids(**query):
            return [job["job_id"] for job in (await client.get("/v1/jobs", params=query)).json()["jobs"]]

        assert await ids(limit=1) == [jobs[2]]
        assert await ids(limit=1, before=jobs[2]) == [jobs[1]]
        assert await ids(status=["failed", "succeeded"]) == [jobs[1], jobs[0]]
        assert await ids(before="unknown") == []
        assert await ids(limit="0" * 30 + "2") == jobs[:0:-1]
        for limit in ("0", "101", "x", "-1", "1.5", "nan", "0" * 9 + "1000000", "0" * 30, "9" * 5009):
            answer = await client.get("/v1/jobs", params={"limit": limit})
            assert (answer.status_code, answer.json()) == (
                400, {"detail": "limit: must be a whole number between 1 and 100"}), limit[:40]
        answer = await client.get("/v1/jobs", params={"status": "lost"})
        assert (answer.status_code, answer.json()) == (
            400, {"detail": "status: must be one of queued, running, succeeded, failed"})


def test_a_slow_follower_gets_the_newest_step_and_memory_stays_bounded():
    live = Live()
    with live.listen("job") as listener:
        live.say("job", Started(1))
        for done in range(1, 10_001):
            live.say("job", Step("denoise", done, 10_000))
        assert [entry.event for entry in listener.take()] == [Started(1), Step("denoise", 10_000, 10_000)]
        for piece in range(10_000):
            live.say("job", Planning(str(piece)))
        assert len(listener.take()) == 4096
    for job in range(1000):
        live.say(str(job), Retrying("x", 1))
        live.end(str(job))
    assert len(live._logs) == 65, "the last 64 that ended, and the one that has not"


@pytest.mark.parametrize("thinking", [False, True])
def test_the_percentage_only_grows(thinking):
    song = {"thinking": thinking, "codes": None, "task": "text2music"}
    phases = ("plan", *(("codes",) if thinking else ()), "encode", "condition", "denoise", "decode", "write")
    shown = [percent(song, Progress(phase, k, 10)) for phase in phases for k in range(11)]
    assert shown == sorted(shown)
    assert (shown[0], shown[-1]) == (0, 99)
    assert percent(song, Progress("unheard of", 1, 1)) == 0
