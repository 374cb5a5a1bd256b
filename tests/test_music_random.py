"""POST /v1/music/random up to the queue: where its one field may stand, what it becomes, refusals; no Triton needed."""

import jsonschema
import pytest

from frontend.jobs.job import State
from frontend.native.routes import create_app
from frontend.services import Services
from frontend.settings import resolve
from tests.test_native_fields import BOTH, LM, SCHEMA, WITH_LM, song

PATH = "/v1/music/random"
JSON = {"Content-Type": "application/json; charset=utf-8"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def services(tmp_path):
    """A frontend that knows an LM but reaches no Triton, with room for one job."""
    settings = resolve({"state": str(tmp_path), "triton_url": "127.0.0.1:9", "queue_maxsize": "1"}, {}, {})
    async with Services(settings) as running:
        running.catalogue = WITH_LM
        yield running


async def post(services, path=PATH, **sent):
    """(status, body) of a request."""
    answer = await create_app(services).test_client().post(path, **sent)
    return answer.status_code, await answer.get_json()


@pytest.mark.parametrize(("path", "headers", "data", "thinking"), [
    ("", {}, b"", True), ("", JSON, b"{}", True), ("", JSON, b'{"thinking": true}', True),
    ("", JSON, b'{"thinking": false}', False), ("", JSON, b'{"Thinking": "no"}', False),
    ("", JSON, b'{"thinking": null, "Thinking": 0}', False),
    ("", {"Content-Type": "text/x-json"}, b'{"thinking":0}', False),
    ("", JSON, b'{"thinking": false', True), ("", JSON, b"[false]", True), ("", JSON, b"\xff", True),
    ("?thinking=false", JSON, b"[false]", False), ("?thinking=0", {}, b"", False), ("?Thinking=off", JSON, b"", False),
    ("?thinking=", {}, b"", True), ("?thinking=false", JSON, b'{"thinking": true}', True),
    ("", FORM, b"thinking=false", True), ("?thinking=no", FORM, b"thinking=yes", False),
    ("", {}, b'{"thinking":0}', True),
])
async def test_thinking_stands_in_json_or_in_the_query(services, path, headers, data, thinking):
    status, body = await post(services, PATH + path, headers=headers, data=data)
    assert (status, list(body), body["status"]) == (200, ["job_id", "status", "queue_position"], "queued")
    job = await services.store.get(body["job_id"])
    assert (job.state, job.work.audio_format) == (State.QUEUED, "mp3")
    expected = song(WITH_LM, caption="", sample_mode=True, thinking=thinking)
    assert job.work.song | {"seeds": []} == expected | {"seeds": []}, "every other field has its default"
    assert len(job.work.song["seeds"]) == 2
    jsonschema.validate(job.work.song, SCHEMA)


async def test_sent_again_with_its_key_it_is_one_job(services):
    key = {"Idempotency-Key": "once"}
    first = await post(services, headers=key)
    assert await post(services, headers=key) == first
    assert await post(services, f"{PATH}?thinking=false", headers=key) == (
        409, {"detail": "Idempotency-Key: was used with another request"})


async def test_refusals(services):
    assert await post(services, headers=JSON, data=b'{"thinking": [1]}') == (
        400, {"detail": "thinking: must be true or false"})
    assert await post(services, headers=JSON, data=b" " * (2 << 20)) == (
        413, {"detail": "Request body too large: at most 1048576 bytes"})
    assert (await post(services))[0] == 200
    assert await post(services) == (429, {"detail": "Server busy: queue is full"})
    services.catalogue = BOTH
    assert await post(services, headers=JSON, data=b'{"thinking": [1]}') == (400, {"detail": f"{PATH}: {LM}"})
    services.catalogue = None
    assert await post(services) == (503, {"detail": "Models are not ready yet"})
