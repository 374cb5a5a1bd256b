"""A key set closes every route but the probes; an empty one is none; an open door is said out loud."""

# mypy: allow-untyped-calls

import re

import pytest

from frontend.chat.routes import create_app as create_chat
from frontend.exposure import warning
from frontend.keys import OPEN_ROUTES, check
from frontend.native.routes import create_app
from frontend.services import Services
from frontend.settings import resolve
from tests.serving import served

KEY = "s3cret-ключ"
# Their last byte in UTF-8 is a blank in Latin-1: 85 of х, A0 of Р and à.
ENDINGS = ("ключх", "КЛЮЧР", "voilà")


@pytest.fixture
async def services(tmp_path):
    settings = resolve(
        {"state": str(tmp_path), "triton_url": "127.0.0.1:9", "native_api_key": KEY}, {}, {})
    async with Services(settings) as running:
        yield running


def requests(app):
    """(method, path) of everything that the app serves."""
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"OPTIONS"}:
            yield method, re.sub(r"<[^>]+>", "x", rule.rule)


async def test_every_route_but_the_probes_needs_the_key(services):
    app = create_app(services)
    asked = set()
    async with served(app) as client:
        for method, path in requests(app):
            answer = await client.request(method, path)
            if path in OPEN_ROUTES:
                assert answer.status_code != 401, path
                continue
            asked.add(path)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), (method, path)
            if method != "HEAD":
                assert answer.json() == {"detail": "Missing Authorization header"}
            for header in (f"Bearer {KEY}", f"bearer  {KEY}", KEY):
                right = await client.request(method, path, headers={b"Authorization": header.encode()})
                assert right.status_code != 401, (method, path, header)
        assert (await client.get("/no/such/route")).status_code == 401
    assert {"/v1/music/generate", "/v1/jobs/x", "/v1/jobs", "/v1/audio", "/v1/models"} <= asked


@pytest.mark.parametrize("key", ENDINGS)
@pytest.mark.parametrize("create", [create_app, create_chat])
async def test_a_key_of_any_script_opens_both_apis(tmp_path, create, key):
    flags = {"state": str(tmp_path), "triton_url": "127.0.0.1:9", "api_key": key}  # closes both
    async with Services(resolve(flags, {}, {})) as services, served(create(services)) as client:
        for header in (f"Bearer {key}", f"bearer \t {key}", key):
            answer = await client.get("/openapi.json", headers={b"Authorization": header.encode()})
            assert answer.status_code == 200, header
        for wrong in (key[:-1], f"{key}{key[-1]}", f"{key}\xa0"):
            answer = await client.get("/openapi.json", headers={b"Authorization": f"Bearer {wrong}".encode()})
            assert answer.status_code == 401, wrong


@pytest.mark.parametrize("header", [
    "Bearer", "Bearer ", "", f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Bearer {KEY.upper()}",
    "Bearer \udcff", "Bearer " + "x" * 10_000,
])
def test_wrong_keys(header):
    assert not check(header, KEY)
    assert not check(None, KEY)


async def test_a_wrong_key_is_told_apart_from_none(services):
    answer = await create_app(services).test_client().get("/v1/models", headers={"Authorization": "Bearer no"})
    assert (answer.status_code, await answer.get_json()) == (401, {"detail": "Invalid API key"})


async def test_without_a_key_there_is_no_list_of_jobs(tmp_path):
    for given in (None, "", "  "):
        settings = resolve({"state": str(tmp_path), "triton_url": "127.0.0.1:9"}, {"ACESTEP_API_KEY": given or ""}, {})
        async with Services(settings) as services:
            client = create_app(services).test_client()
            assert (await client.get("/v1/jobs")).status_code == 404
            assert (await client.get("/v1/models")).status_code == 200


@pytest.mark.parametrize(("host", "key", "is_said"), [
    ("127.0.0.1", None, False), ("localhost", None, False), ("::1", None, False), ("127.8.0.1", None, False),
    ("0.0.0.0", None, True), ("::", "", True), ("10.0.0.1", None, True), ("music.example", None, True),
    ("0.0.0.0", "key", False),
])
def test_an_open_door_is_said_out_loud(host, key, is_said):
    line = warning(host, key, "ACESTEP_API_HOST", "ACESTEP_API_KEY")
    assert (line is not None) == is_said
    if line:
        assert "ANYBODY" in line
        assert "ACESTEP_API_KEY" in line
    if host:
        flags = {"host": host, "native_api_key": key}
        assert resolve(flags, {}, {}).warnings == (() if line is None else (line,))
