"""The OpenAPI documents: they name what is served, their schemas are the readers' own, real answers meet them."""

# mypy: allow-untyped-calls

import re
from pathlib import Path

import jsonschema
import pytest

from frontend.chat.fields import TABLE as CHAT
from frontend.chat.routes import create_app as create_chat
from frontend.coerce import schema_of
from frontend.native.fields import TABLE
from frontend.native.routes import create_app
from frontend.openapi.__main__ import made, render
from frontend.services import Services
from frontend.settings import resolve
from tests.scripted import ended
from tests.serving import served

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
async def services(tmp_path):
    flags = {"state": str(tmp_path), "triton_url": "127.0.0.1:9", "native_api_key": "k", "api_key": "k"}
    async with Services(resolve(flags, {}, {})) as running:
        yield running


async def fetch(app, path, key="k"):
    return await app.test_client().get(path, headers={"Authorization": f"Bearer {key}"})


@pytest.mark.parametrize("create", [create_app, create_chat])
async def test_every_served_route_is_described_and_no_other(services, create):
    app = create(services)
    described = await (await fetch(app, "/openapi.json")).get_json()
    listed = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    served_here = {
        (method, re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert listed == served_here
    for path, methods in described["paths"].items():
        for operation in methods.values():
            in_path = {entry["name"] for entry in operation.get("parameters", ()) if entry["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path))


async def test_without_a_key_there_is_no_list_to_describe(tmp_path):
    async with Services(resolve({"state": str(tmp_path), "triton_url": "127.0.0.1:9"}, {}, {})) as services:
        described = await (await create_app(services).test_client().get("/openapi.json")).get_json()
        assert "/v1/jobs" not in described["paths"]


@pytest.mark.parametrize("create", [create_app, create_chat])
async def test_documents_are_json_schema_and_refer_to_what_is_there(services, create):
    described = await (await fetch(create(services), "/openapi.json")).get_json()
    assert described["openapi"] == "3.1.0"
    for schema in schemas(described):
        jsonschema.Draft202012Validator.check_schema(schema)
    names = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert set(references(described)) <= names
    for path in described["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert all(re.fullmatch(r"[1-5]\d\d", status) for status in operation["responses"])


def schemas(value):
    if isinstance(value, dict):
        if isinstance(value.get("schema"), dict):
            yield value["schema"]
        for entry in value.values():
            yield from schemas(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from schemas(entry)


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for entry in value.values():
            yield from references(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from references(entry)


async def test_the_fields_are_those_that_are_read(services):
    native = await (await fetch(create_app(services), "/openapi.json")).get_json()
    content = native["paths"]["/v1/music/generate"]["post"]["requestBody"]["content"]
    names = {entry.name for entry in TABLE}
    assert set(content["application/json"]["schema"]["properties"]) == names | {"metas"}
    assert set(content["application/x-www-form-urlencoded"]["schema"]["properties"]) == names | {"metas"}
    files = {"src_audio", "reference_audio"}
    assert set(content["multipart/form-data"]["schema"]["properties"]) == names | {"metas"} | files
    nested = content["application/json"]["schema"]["properties"]["metas"]["anyOf"][0]["properties"]
    assert set(nested) == {entry.name for entry in TABLE if entry.nested}
    chat = await (await fetch(create_chat(services), "/openapi.json")).get_json()
    schema = chat["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {entry.name for entry in CHAT} | {
        "messages", "audio_config", "audio", "stream_options"}


@pytest.mark.parametrize("entry", [*TABLE, *CHAT], ids=lambda entry: entry.name)
def test_a_schema_says_what_its_reader_takes(entry):
    assert entry.help
    schema = schema_of(entry.read)
    for value in (*schema.get("enum", ()), *(schema[edge] for edge in ("minimum", "maximum") if edge in schema)):
        entry.read(value)
    if "maxLength" in schema and "pattern" not in schema:
        entry.read("x" * schema["maxLength"])
        refused(entry, "x" * (schema["maxLength"] + 1))
    if schema.get("enum"):
        refused(entry, "none of these")
    for edge, beyond in (("minimum", -1), ("maximum", 1)):
        if edge in schema:
            refused(entry, schema[edge] + beyond)
    if "exclusiveMinimum" in schema:
        refused(entry, schema["exclusiveMinimum"])


def refused(entry, value):
    with pytest.raises(ValueError, match="must"):
        entry.read(value)


def test_the_tables_in_the_docs_are_current():
    text = (DOCS / "api.md").read_text()
    assert render(text) == text, "run make docs"
    assert text.count("<!-- made: ") == len(made())


@pytest.mark.parametrize("create", [create_app, create_chat])
async def test_the_page_shows_everything_and_loads_nothing(services, create):
    app = create(services)
    described = await (await fetch(app, "/openapi.json")).get_json()
    answer = await fetch(app, "/docs")
    text = await answer.get_data(as_text=True)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    for path in described["paths"]:
        assert path in text
    assert not re.search(r"<script|<link|<img|src=|https?://(?!127\.0\.0\.1)|javascript:", text)


async def test_real_answers_meet_their_schemas(scripted, tmp_path):
    flags = {"native_api_key": "k", "api_key": "k"}
    async with (
        scripted.frontend(tmp_path, **flags) as services,
        served(create_app(services), headers={"Authorization": "Bearer k"}) as client,
        served(create_chat(services), headers={"Authorization": "Bearer k"}) as chat,
    ):
        described = (await client.get("/openapi.json")).json()
        of_chat = (await chat.get("/openapi.json")).json()
        checked = set()

        async def check(client, method, path, described=described, template=None, **sent):
            answer = await client.request(method, path, **sent)
            operation = described["paths"][template or path][method.lower()]
            declared = operation["responses"][str(answer.status_code)]
            schema = declared["content"][answer.headers["Content-Type"].split(";")[0]]["schema"]
            if "json" in answer.headers["Content-Type"]:
                whole = {**schema, "components": described["components"]}
                jsonschema.Draft202012Validator(whole).validate(answer.json())
            checked.add((method, template or path, answer.status_code))
            return answer

        song = {"audio_format": "wav", "batch_size": 2, "caption": "x"}
        submitted = await check(client, "POST", "/v1/music/generate", json=song)
        failing = await check(client, "POST", "/release_task", json={"prompt": "fail:400"})
        ids = submitted.json()["job_id"], failing.json()["data"]["task_id"]
        for job_id in ids:
            await ended(services, job_id)
        waiting = await check(client, "POST", "/v1/music/generate", json=song | {"caption": "wait:60"})
        for job_id in (*ids, waiting.json()["job_id"], "unknown"):
            await check(client, "GET", f"/v1/jobs/{job_id}", template="/v1/jobs/{job_id}")
            await check(client, "DELETE", f"/v1/jobs/{job_id}", template="/v1/jobs/{job_id}")
        job = (await client.get(f"/v1/jobs/{ids[0]}")).json()
        await check(client, "GET", job["result"]["first_audio_path"], template="/v1/audio")
        await check(client, "GET", "/v1/audio", params={"path": "x"})
        await check(client, "POST", "/query_result", json={"task_id_list": [*ids, "unknown"]})
        for name in ("tiny-base", "x"):
            await check(client, "GET", f"/v1/models/{name}", template="/v1/models/{model_id}")
            for prefix in ("", "/api"):
                await check(chat, "GET", f"{prefix}/v1/models/{name}", of_chat,
                            template=f"{prefix}/v1/models/{{model_id}}")
        for path in ("/v1/jobs", "/v1/models", "/v1/stats", "/metrics", "/openapi.json", "/docs", "/health", "/livez",
                     "/readyz"):
            await check(client, "GET", path)
        await check(client, "POST", "/format_input", json={"prompt": "x"})
        await check(client, "POST", "/v1/music/generate", content=b"x")
        del client.headers["Authorization"]
        await check(client, "GET", "/v1/models")
        message = {"messages": [{"role": "user", "content": "<prompt>x</prompt>"}], "audio_format": "wav"}
        await check(chat, "POST", "/v1/chat/completions", of_chat, json=message)
        in_openais_way = message | {"audio": {"voice": "alloy", "format": "wav"}, "n": 2}
        await check(chat, "POST", "/v1/chat/completions", of_chat, json=in_openais_way)
        await check(chat, "POST", "/api/v1/chat/completions", of_chat, json={"messages": []})
        for path in ("/v1/models", "/api/v1/models", "/health"):
            answer = await check(chat, "GET", path, of_chat)
            described_there = of_chat["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            assert set(answer.json()) == set(described_there["properties"])
        assert {status for _, _, status in checked} == {200, 400, 401, 404, 415, 503}
