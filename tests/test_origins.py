"""Web pages of other origins: those that are allowed read every answer, from all others nothing is changed."""

# mypy: allow-untyped-calls

import asyncio
import socket

import pytest

from frontend.chat.routes import create_app as create_chat
from frontend.cors import EXPOSED
from frontend.native.routes import create_app
from frontend.origins import Origins, parse
from frontend.services import Services
from frontend.settings import SettingsError, load, resolve
from tests.serving import served
from tests.test_native_fields import BOTH

PAGE, EVIL = "https://studio.example", "https://evil.example"
BOTH_APPS = pytest.mark.parametrize("create", [create_app, create_chat])
OURS = "127.0.0.1:8001"


@pytest.mark.parametrize(("listed", "host", "origin", "allowed"), [
    (None, "127.0.0.1", "http://localhost:3000", True), (None, "127.0.0.1", "https://localhost", True),
    (None, "::1", "http://[::1]:5173", True), (None, "localhost", "http://127.0.0.1:1", True),
    (None, "127.0.0.1", "http://localhost.evil.example", False), (None, "127.0.0.1", "http://localhost:1\n", False),
    (None, "127.0.0.1", "http://127.0.0.1.evil.example:80", False), (None, "127.0.0.1", "null", False),
    (None, "127.0.0.1", "ftp://localhost", False), (None, "127.0.0.1", "http://evil@localhost", False),
    (None, "0.0.0.0", "http://localhost:3000", False), (None, "192.168.1.5", "http://192.168.1.5", False),
    (PAGE, "127.0.0.1", PAGE, True), (PAGE, "127.0.0.1", "http://localhost:3000", False),
    (PAGE, "127.0.0.1", "http://studio.example", False), (PAGE, "0.0.0.0", PAGE, True),
    (PAGE, "127.0.0.1", f"{PAGE}:444", False), (f"{EVIL}, {PAGE}:443/ ,", "127.0.0.1", PAGE, True),
    ("http://Studio.Example:80", "::", "http://studio.example", True), (f"null,{PAGE}", "127.0.0.1", "null", True),
    ("chrome-extension://abc", "::1", "chrome-extension://abc", True), ("*", "0.0.0.0", EVIL, True),
])
def test_which_origins_are_allowed(listed, host, origin, allowed):
    assert Origins.of(listed, host).allows(origin) is allowed


@pytest.mark.parametrize(("listed", "bound", "origin", "host", "fetch_site", "may"), [
    (None, "127.0.0.1", None, OURS, None, True), (None, "0.0.0.0", None, "songs.example", None, True),
    (None, "127.0.0.1", None, "", "none", True), (None, "127.0.0.1", None, OURS, "same-origin", True),
    (None, "127.0.0.1", None, OURS, "cross-site", False), ("*", "127.0.0.1", None, OURS, "cross-site", True),
    (None, "127.0.0.1", EVIL, OURS, "cross-site", False), (None, "127.0.0.1", "null", OURS, None, False),
    (None, "127.0.0.1", "", OURS, None, False), (None, "127.0.0.1", "", "", None, False),
    (None, "127.0.0.1", "http://localhost:9", OURS, "same-site", True),
    # Its name leads here, but it is not ours (DNS rebinding).
    (None, "127.0.0.1", "http://evil.example:8001", "evil.example:8001", "same-origin", False),
    (None, "::1", "http://evil.example", "evil.example", "same-origin", False),
    ("http://other.example", "127.0.0.1", "http://evil.example", "evil.example", None, False),
    # Our own page, by each of the machine's names, also where others are listed.
    (PAGE, "127.0.0.1", "http://127.0.0.1:8001", OURS, "same-origin", True),
    (PAGE, "127.0.0.2", "http://127.0.0.2:8001", "127.0.0.2:8001", "same-origin", True),
    (PAGE, "::1", "http://[::1]:8001", "[::1]:8001", "same-origin", True),
    (PAGE, "127.0.0.1", "http://localhost:8001", "LOCALHOST:8001", "same-origin", True),
    (PAGE, "127.0.0.1", "http://localhost:8002", "localhost:8001", "same-site", False),
    # A proxy ends TLS: the page's name is that of a listed origin.
    (PAGE, "127.0.0.1", "http://studio.example", "studio.example", None, True),
    # Who listens to all cannot know his names.
    (None, "0.0.0.0", "https://songs.example", "songs.example", "same-origin", True),
    (None, "0.0.0.0", "http://192.168.1.5:8001", "192.168.1.5:8001", None, True),
    (None, "0.0.0.0", "http://localhost:3000", "192.168.1.5:8001", None, False),
    ("*", "0.0.0.0", "null", "x", None, True),
])
def test_what_comes_from_a_foreign_page(listed, bound, origin, host, fetch_site, may):
    assert Origins.of(listed, bound).may_change(origin, host, fetch_site) is may


@pytest.mark.parametrize("text", [
    "studio.example", "https://", "https://a/b", "https://a b", "https://*.example", "**"])
def test_what_is_no_origin_stops_the_start(text):
    with pytest.raises(SettingsError, match=r"^CORS_ORIGINS: must be origins such as https://studio\.example, null or"):
        load([], {"CORS_ORIGINS": text}, None)
    with pytest.raises(SettingsError, match=r"^--cors-origins: must be"):
        load(["--cors-origins", text], {}, None)


def test_the_setting_reaches_a_child_and_every_page_without_a_key_is_warned_of():
    given = load([], {"CORS_ORIGINS": f" {PAGE} , null"}, None)
    assert given.warnings == ()
    again = load([], given.environment(), None)
    assert parse(again.cors_origins or "") == {PAGE, "null"}
    keys = {"ACESTEP_API_KEY": "a", "OPENROUTER_API_KEY": "b"}
    assert load([], {"CORS_ORIGINS": "*"} | keys, None).warnings == ()
    warnings = load([], {"CORS_ORIGINS": "*"}, None).warnings
    assert [line.rpartition(" and ")[2] for line in warnings] == [f"{key} is not set" for key in keys]


@pytest.fixture
async def start(tmp_path):
    """Makes the app of services without a Triton, with keys and the given settings."""
    running = []

    async def factory(create, **flags):
        flags = {"native_api_key": "k", "api_key": "k", **flags}
        services = Services(resolve({"state": str(tmp_path), "triton_url": "127.0.0.1:9", **flags}, {}, {}))
        running.append(await services.__aenter__())
        services.catalogue = BOTH
        return create(services)

    yield factory
    for services in running:
        await services.__aexit__(None, None, None)


def paths(app):
    """A path for every route with its methods."""
    return [(rule.rule.replace("<job_id>", "x").replace("<path:model_id>", "x"), rule.methods - {"HEAD", "OPTIONS"})
            for rule in app.url_map.iter_rules()]


@BOTH_APPS
async def test_a_preflight_on_every_route_needs_no_key(start, create):
    app = await start(create, cors_origins=PAGE)
    wanted = "authorization,content-type,idempotency-key,last-event-id,range,x-stainless-lang"
    for path, methods in paths(app):
        for method in methods:
            asked = {"Origin": PAGE, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": wanted}
            answer = await app.test_client().options(path, headers=asked)
            assert answer.status_code == 200
            assert answer.headers["Access-Control-Allow-Origin"] == PAGE
            assert answer.headers["Vary"] == "Origin"
            assert method in answer.headers["Access-Control-Allow-Methods"]
            assert sorted(answer.headers["Access-Control-Allow-Headers"].replace(" ", "").split(",")) == sorted(
                wanted.split(","))
            assert int(answer.headers["Access-Control-Max-Age"]) > 0
            other = await app.test_client().options(path, headers=asked | {"Origin": EVIL})
            assert not any(name.lower().startswith("access-control-allow") for name, _ in other.headers)


@BOTH_APPS
async def test_from_another_origin_nothing_is_changed(start, create):
    """With the key and without: who is not allowed is told so before his key and his body are looked at."""
    app = await start(create)
    for path, methods in paths(app):
        for method in methods:
            for headers in ({"Origin": EVIL}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
                            {"Origin": "http://evil.example:8001", "Host": "evil.example:8001"}):
                key = {"Authorization": "Bearer k"} if "Origin" in headers else {}
                answer = await app.test_client().open(path, method=method, headers=headers | key, data=b"{")
                assert (answer.status_code == 403) is (method != "GET"), (path, method, headers)
                assert "Access-Control-Allow-Origin" not in answer.headers
                if method != "GET":
                    body = await answer.get_json()
                    assert list(body) == (["detail"] if create is create_app else ["detail", "error"])
                    assert body["detail"] == (
                        "Origin: pages from there may change nothing here; CORS_ORIGINS lists those that may")


@BOTH_APPS
@pytest.mark.parametrize("headers", [
    {}, {"Origin": "http://localhost:3000"}, {"Origin": "http://127.0.0.1:5000", "Sec-Fetch-Site": "same-site"},
    {"Origin": f"http://{OURS}", "Host": OURS, "Sec-Fetch-Site": "same-origin"}, {"Host": "songs.example"}])
async def test_programs_and_pages_of_this_machine_are_served(start, create, headers):
    app = await start(create)
    for path, methods in paths(app):
        for method in methods - {"GET"}:
            answer = await app.test_client().open(path, method=method, headers=headers, data=b"{")
            assert answer.status_code == 401, "its key is asked for"
            assert answer.headers.get("Access-Control-Allow-Origin") == headers.get("Origin")


@BOTH_APPS
async def test_every_page_may_be_allowed(start, create):
    app = await start(create, cors_origins="*")
    for method, path in (("GET", "/health"), ("GET", "/v1/models"), ("POST", "/nowhere")):
        for origin in (EVIL, "null"):
            answer = await app.test_client().open(path, method=method, headers={"Origin": origin})
            assert answer.status_code != 403
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in answer.headers


@BOTH_APPS
async def test_a_refusal_comes_before_the_body_is_read(start, create):
    app = await start(create)
    path = "/v1/music/generate" if create is create_app else "/v1/chat/completions"
    async with served(app) as client:
        host, port = client.base_url.host, client.base_url.port
        with socket.create_connection((host, port), timeout=10) as raw:
            raw.sendall(f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {EVIL}\r\n"
                        f"Content-Length: {1 << 30}\r\n\r\n".encode() + b"x" * 1000)
            answer = await asyncio.to_thread(raw.recv, 10_000)
        assert answer.startswith(b"HTTP/1.1 403")


async def test_songs_streams_and_errors_carry_the_headers_too(scripted, tmp_path):
    from tests.scripted import ended

    page = {"Origin": PAGE}
    async with (
        scripted.frontend(tmp_path, cors_origins=PAGE, native_api_key="k") as services,
        served(create_app(services), headers=page | {"Authorization": "Bearer k"}) as client,
        served(create_chat(services), headers=page) as chat,
    ):
        def check(answer, status):
            assert answer.status_code == status
            assert answer.headers["Access-Control-Allow-Origin"] == PAGE
            exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
            assert sorted(exposed) == sorted(EXPOSED)
            return answer

        song = {"caption": "x", "batch_size": 1, "audio_format": "wav"}
        submitted = check(await client.post("/v1/music/generate", json=song), 200).json()
        job = await ended(services, submitted["job_id"])
        assert job.result is not None
        path = check(await client.get(f"/v1/jobs/{job.id}"), 200).json()["result"]["first_audio_path"]
        check(await client.get(path), 200)
        check(await client.get(path, headers={"Range": "bytes=0-9"}), 206)
        check(await client.get(path, headers={"Range": "bytes=999999999-"}), 416)
        check(await client.get(f"/v1/jobs/{job.id}/events"), 200)
        check(await client.get(f"/v1/jobs/{job.id}/events", headers={"Last-Event-ID": "end"}), 204)
        check(await client.delete(f"/v1/jobs/{job.id}"), 200)
        for method, path, headers, status in (
                ("POST", "/v1/music/generate", {}, 415), ("GET", "/v1/jobs/x", {}, 404), ("PUT", "/health", {}, 405),
                ("GET", "/nowhere", {}, 404), ("GET", "/v1/models", {"Authorization": "x"}, 401)):
            check(await client.request(method, path, headers=headers), status)
        message = {"messages": [{"role": "user", "content": "<prompt>x</prompt>"}], "audio_format": "wav"}
        check(await chat.post("/v1/chat/completions", json=message), 200)
        check(await chat.post("/v1/chat/completions", json=message | {"stream": True}), 200)
        check(await chat.post("/v1/chat/completions", json={}), 400)
        services.songs, kept = None, services.songs
        check(await client.get("/readyz"), 500)
        services.songs = kept
