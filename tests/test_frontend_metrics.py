"""The frontend counts what it does: jobs, times, requests; label values are never a client's."""

# mypy: allow-untyped-calls

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from frontend.chat.routes import create_app as create_chat
from frontend.metrics import METRICS
from frontend.native.routes import create_app
from tests.scripted import ended
from tests.serving import served

BODY = {"batch_size": 2, "audio_format": "wav", "audio_duration": 30}


@pytest.fixture
async def services(scripted, tmp_path):
    async with scripted.frontend(tmp_path, workers=1, queue_maxsize="7") as running:
        yield running


@pytest.fixture
async def client(services):
    async with served(create_app(services)) as running:
        yield running


async def scrape(client):
    """{(sample, labels): value}"""
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.text))
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families for sample in family.samples}


def value(samples, name, **labels):
    return samples.get((f"acestep_frontend_{name}", tuple(sorted(labels.items()))), 0.0)


async def submit(client, script):
    return (await client.post("/v1/music/generate", json=BODY | {"caption": script})).json()["job_id"]


async def test_jobs_are_counted_and_timed(client, services):
    for script in ("fail:503 | x", "fail:400"):
        await ended(services, await submit(client, script))
    running, waiting = [await submit(client, script) for script in ("wait:60", "x")]
    async with asyncio.timeout(10):
        while str((await services.store.get(running)).state) != "running":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    async with client.stream("GET", f"/v1/jobs/{running}/events"):
        samples = await scrape(client)
        assert value(samples, "followers") == 1
    assert value(samples, "jobs", state="running") == 1
    assert value(samples, "jobs", state="queued") == 1
    assert 0 < value(samples, "queue_oldest_seconds") < 60
    assert (value(samples, "queue_limit"), value(samples, "ready"), value(samples, "in_flight_limit")) == (7, 1, 4)
    for job_id in (waiting, running):
        await services.cancel(job_id)
    samples = await scrape(client)
    assert value(samples, "queue_oldest_seconds") == 0
    assert value(samples, "jobs_ended_total", api="native", outcome="succeeded") == 1
    assert value(samples, "jobs_ended_total", api="native", outcome="invalid_request") == 1
    assert value(samples, "jobs_ended_total", api="native", outcome="cancelled") == 2
    assert value(samples, "jobs_returned_total") == 1
    assert value(samples, "audio_seconds_total") == 60
    assert value(samples, "job_run_seconds_count") == 1
    assert value(samples, "job_wait_seconds_count") == 3


async def test_requests_are_counted_by_template(client, services):
    await client.get("/v1/jobs/a")
    await client.get("/v1/jobs/b")
    await client.get("/secret-of-a-client")
    await client.request("BREW", "/v1/models")
    async with served(create_chat(services)) as chat:
        await chat.get("/health")
    samples = await scrape(client)

    def requests(**labels):
        return value(samples, "http_requests_total", **labels)

    assert requests(api="native", method="GET", route="/v1/jobs/<job_id>", status="404") == 2
    assert requests(api="native", method="GET", route="other", status="404") == 1
    assert requests(api="chat", method="GET", route="/health", status="200") == 1
    assert value(samples, "http_response_seconds_count", api="native", route="/v1/jobs/<job_id>") == 2
    assert "secret" not in str(samples)
    assert "BREW" not in str(samples)


async def test_refused_requests_are_counted_too(scripted, tmp_path):
    async with scripted.frontend(tmp_path, native_api_key="key") as services, served(create_app(services)) as client:
        assert (await client.get("/metrics")).status_code == 401
        client.headers["Authorization"] = "Bearer key"
        samples = await scrape(client)
    assert value(samples, "http_requests_total", api="native", method="GET", route="/metrics", status="401") == 1


async def test_every_metric_of_the_table_is_served_and_no_other(client):
    text = (await client.get("/metrics")).text
    kinds = {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")}
    assert kinds == {metric.name: metric.kind for metric in METRICS}
