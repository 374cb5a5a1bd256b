"""A submission sent again with its Idempotency-Key is the job of the first time; no Triton needed."""

# mypy: allow-untyped-calls

import asyncio
import io

import httpx
import numpy as np
import pytest
import soundfile

from frontend.native.routes import create_app
from frontend.services import Services
from frontend.settings import resolve
from tests.test_native_fields import BOTH

PATH = "/v1/music/generate"
COVER = {"task_type": "cover", "batch_size": "1"}


@pytest.fixture
async def services(tmp_path):
    settings = resolve({"state": str(tmp_path), "triton_url": "127.0.0.1:9", "queue_maxsize": "2"}, {}, {})
    async with Services(settings) as running:
        running.catalogue = BOTH
        yield running


def sound(seed):
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(seed).uniform(-0.5, 0.5, (48_000, 2)), 48_000, format="WAV")
    return file.getvalue()


async def post(services, key, path=PATH, **sent):
    """(status, body); multipart bodies get a new boundary each time."""
    built = httpx.Request("POST", "http://x" + path, **sent)
    headers = {name: built.headers[name] for name in ("Content-Type",) if name in built.headers}
    answer = await create_app(services).test_client().post(
        path, data=built.read(), headers=headers | ({} if key is None else {"Idempotency-Key": key}))
    return answer.status_code, await answer.get_json()


async def jobs(services):
    return len(await services.store.list(10))


async def test_the_same_again_is_the_same_job(services):
    first = await post(services, "a", json={"caption": "x", "bpm": 90})
    again = await post(services, "a", json={"bpm": 90, "caption": "x"})
    assert first == again
    assert first[0] == 200
    assert await jobs(services) == 1
    assert (await post(services, "b", json={"caption": "x", "bpm": 90}))[1]["job_id"] != first[1]["job_id"]
    assert await post(services, "c", json={"caption": "x"}) == (429, {"detail": "Server busy: queue is full"})
    assert await post(services, "a", json={"caption": "x", "bpm": 90}) == first, "a full queue does not matter"


async def test_without_a_key_each_submission_is_a_job(services):
    for _ in range(2):
        await post(services, None, json={"caption": "x"})
    assert await jobs(services) == 2


@pytest.mark.parametrize("other", [{"caption": "y"}, {"caption": "x", "bpm": 91}, {"caption": "x", "unknown": 1}])
async def test_another_request_under_the_same_key_is_refused(services, other):
    await post(services, "a", json={"caption": "x"})
    status, body = await post(services, "a", json=other)
    assert (status, body) == (409, {"detail": "Idempotency-Key: was used with another request"})
    assert await jobs(services) == 1


async def test_files_count_too_and_are_kept_once(services):
    folder = services.settings.state / "uploads"
    first = await post(services, "a", data=COVER, files={"src_audio": ("a", sound(1))})
    assert await post(services, "a", data=COVER, files={"src_audio": ("b", sound(1))}) == first
    assert len(list(folder.iterdir())) == 1
    status, _ = await post(services, "a", data=COVER, files={"src_audio": ("a", sound(2))})
    assert status == 409
    [kept] = (await services.store.get(first[1]["job_id"])).work.uploads.values()
    assert [path.name for path in folder.iterdir()] == [kept.file]


async def test_a_refused_request_does_not_use_its_key_up(services):
    assert (await post(services, "a", json={"caption": "x", "bpm": 5}))[0] == 400
    assert (await post(services, "a", json={"caption": "x", "bpm": 50}))[0] == 200


async def test_keys_outlive_the_process(services):
    first = await post(services, "a", json={"caption": "x"})
    async with Services(services.settings) as again:
        again.catalogue = BOTH
        assert await post(again, "a", json={"caption": "x"}) == first
        claim = await again.store.claim("w", 30)
        assert claim is not None
        await again.store.fail(claim, "no", "no")
        assert (await post(again, "a", json={"caption": "x"}))[1] == {
            "job_id": first[1]["job_id"], "status": "failed", "queue_position": 0}


async def test_two_at_the_same_time_are_one_job(services):
    answers = await asyncio.gather(*(post(services, "a", json={"caption": "x"}) for _ in range(8)))
    assert {status for status, _ in answers} == {200}
    assert len({body["job_id"] for _, body in answers}) == 1


async def test_deep_nesting_is_no_fault(services):
    status, body = await post(services, "a", content=b'{"caption":"x","y":' + b"[" * 5000 + b"]" * 5000 + b"}")
    assert status in (200, 400), body


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\tb"])
async def test_keys_that_are_none(services, key):
    status, body = await post(services, key, json={"caption": "x"})
    assert (status, body) == (400, {"detail": "Idempotency-Key: must be 1 to 255 printable ASCII characters"})
