"""The `error_code` of a job that has failed is one of those documented, and each of them comes."""

# mypy: allow-untyped-calls

from frontend.chat import routes as chat
from frontend.native.routes import create_app
from frontend.openapi.answers import ERROR_CODES
from tests.scripted import ended

SONG = {"messages": [{"role": "user", "content": "<prompt>x</prompt>"}]}


async def test_each_documented_code_comes_and_no_other(scripted, tmp_path):
    codes = []
    async with scripted.frontend(tmp_path / "made", workers=1) as services:
        native = create_app(services).test_client()
        for status in (400, 410):
            job_id = await submitted(native, f"fail:{status}")
            codes.append((await ended(services, job_id)).error_code)
    async with scripted.frontend(tmp_path / "waiting", workers=0, generation_timeout="1") as services:
        native = create_app(services).test_client()
        record = await (await native.delete(f"/v1/jobs/{await submitted(native, 'x')}")).get_json()
        codes.append(record["error_code"])
        job_id = await submitted(native, "x")
        for _ in range(4):
            await services.store.claim("a worker that dies", 0)
        await services.store.reap("another frontend")
        codes.append((await ended(services, job_id)).error_code)
        late = await chat.create_app(services).test_client().post("/v1/chat/completions", json=SONG)
        assert late.status_code == 504
        [job] = await services.store.list(1)
        codes.append(job.error_code)
    assert codes == ["invalid_request", "generation_failed", "cancelled", "lost", "expired"]
    assert set(codes) == set(ERROR_CODES)


async def submitted(native, caption):
    answer = await (await native.post("/v1/music/generate", json={"caption": caption})).get_json()
    return answer["job_id"]
