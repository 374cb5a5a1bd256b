"""Bodies in every form that clients send: gzip under the same limits, forms on every route, slashes at the end."""

# mypy: allow-untyped-calls

import gzip
import json
import random
import zlib

import httpx
import pytest

from frontend.chat.routes import create_app as create_chat
from frontend.gzipped import Gunzip
from frontend.native.routes import create_app
from frontend.services import Services
from frontend.settings import resolve
from tests.support.waiting import counted_turns, until
from tests.test_native_fields import WITH_LM
from tests.test_uploads import COVER, SOUND, kept

GENERATE, CHAT = "/v1/music/generate", "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
ZIPPED = JSON | {"Content-Encoding": "gzip"}
BROKEN = "Content-Encoding: the body is no gzip, or is cut off"


class FakeSongs:
    """Writes of a text what it was asked for."""

    async def write(self, request):
        return {"caption": f"better {request['caption']}", "bpm": request["bpm"]}

    async def close(self):
        pass


@pytest.fixture
async def services(tmp_path):
    """A frontend that knows an LM but reaches no Triton; a chat song ends at once, with a 504."""
    flags: dict[str, str | None] = {
        "state": str(tmp_path), "triton_url": "127.0.0.1:9", "max_upload_mb": "8", "generation_timeout": "1"}
    async with Services(resolve(flags, {}, {})) as running:
        await running.songs.close()
        running.songs = FakeSongs()  # type: ignore[assignment]
        running.catalogue = WITH_LM
        yield running


async def post(services, path, data, headers, create=create_app):
    """(status, body) of a request."""
    answer = await create(services).test_client().post(path, data=data, headers=headers)
    return answer.status_code, await answer.get_json()


def form(data=None, files=None):
    """(body, headers) of a multipart form."""
    built = httpx.Request("POST", "http://x", data=data, files=files)
    return built.read(), {"Content-Type": built.headers["Content-Type"]}


def members(data):
    """`data` as gzip in two members."""
    return gzip.compress(data[:7]) + gzip.compress(data[7:])


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "gzip, identity", "identity", ""])
async def test_a_gzip_body_is_what_it_holds(services, encoding):
    body = json.dumps({"caption": "x", "bpm": 90}).encode()
    sent = members(body) if "gzip" in encoding.lower() else body
    status, answer = await post(services, GENERATE, sent, JSON | {"Content-Encoding": encoding})
    assert status == 200, answer
    assert (await services.store.get(answer["job_id"])).work.song["bpm"] == 90


async def test_a_gzip_upload(services):
    body, headers = form(COVER, {"src_audio": ("a.flac", SOUND)})
    status, answer = await post(services, GENERATE, gzip.compress(body), headers | {"Content-Encoding": "gzip"})
    assert status == 200, answer
    [upload] = (await services.store.get(answer["job_id"])).work.uploads.values()
    assert (services.settings.state / "uploads" / upload.file).read_bytes() == SOUND


@pytest.mark.parametrize("path", [GENERATE, "/v1/music/random", "/release_task", "/query_result", "/format_input"])
async def test_every_native_body_may_be_gzip(services, path):
    sent = json.dumps({"prompt": "x", "thinking": False, "task_id_list": ["unknown"]}).encode()
    plain, zipped = await post(services, path, sent, JSON), await post(services, path, gzip.compress(sent), ZIPPED)
    assert plain[0] == zipped[0] == 200
    for broken in (gzip.compress(sent)[:-9], sent, gzip.compress(sent) + b"more"):
        assert await post(services, path, broken, ZIPPED) == (400, {"detail": BROKEN})
    refused = await post(services, path, sent, JSON | {"Content-Encoding": "br"})
    assert refused == (415, {"detail": "Content-Encoding: br is not decoded here; use gzip or identity"})


@pytest.mark.parametrize("path", [CHAT, f"/api{CHAT}"])
async def test_chat_bodies_may_be_gzip(services, path):
    services.engines_seen = frozenset(WITH_LM.engines)
    sent = json.dumps({"messages": [{"role": "user", "content": "<prompt>x</prompt>"}]}).encode()
    assert (await post(services, path, gzip.compress(sent), ZIPPED, create_chat))[0] == 504, "it was taken"
    for broken in (gzip.compress(sent)[:-9], sent):
        status, answer = await post(services, path, broken, ZIPPED, create_chat)
        assert (status, answer["detail"], answer["error"]["message"]) == (400, BROKEN, BROKEN)
    status, answer = await post(services, path, sent, ZIPPED | {"Content-Encoding": "deflate"}, create_chat)
    assert (status, answer["error"]["code"]) == (415, 415)
    assert answer["detail"] == "Content-Encoding: deflate is not decoded here; use gzip or identity"


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "compress", "gz\tip"])
async def test_other_encodings_are_refused_with_what_is_accepted(services, encoding):
    answer = await create_app(services).test_client().post(
        GENERATE, data=b'{"caption": "x"}', headers=JSON | {"Content-Encoding": encoding})
    assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "gzip, identity")
    detail = (await answer.get_json())["detail"]
    assert detail.endswith("is not decoded here; use gzip or identity")
    assert detail.isprintable()


def bomb(mebibytes, head=b"", tail=b""):
    """Gzip of a thousandth of the size of what it holds."""
    packer = zlib.compressobj(9, wbits=31)
    zeros = b" " * (1 << 20)
    return b"".join((packer.compress(head), *(packer.compress(zeros) for _ in range(mebibytes)),
                     packer.compress(tail), packer.flush()))


async def test_what_a_gzip_body_holds_is_limited_and_never_whole_in_memory(services, monkeypatch):
    seen = 0
    feed = Gunzip.feed

    def counting(self, data):
        nonlocal seen
        for piece in feed(self, data):
            seen += len(piece)
            assert len(piece) <= 1 << 16
            yield piece

    monkeypatch.setattr(Gunzip, "feed", counting)
    too_large = {"detail": "Request body too large: at most 1048576 bytes"}
    packed = bomb(16, b'{"caption": "x"}')
    assert len(packed) < 1 << 20
    assert await post(services, GENERATE, packed, ZIPPED) == (413, too_large)
    assert seen < 2 << 20, "no more was unpacked than needed"
    head = b'--x\r\nContent-Disposition: form-data; name="src_audio"; filename="a"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"}
    status, answer = await post(services, GENERATE, bomb(16, head), headers)
    assert (status, answer["detail"]) == (413, "Request body too large: at most 8388608 bytes")
    message = bomb(16, b'{"messages": "')
    assert (await post(services, CHAT, message, ZIPPED, create_chat))[0] == 413
    empty = gzip.compress(b"") * 60_000
    assert await post(services, GENERATE, empty, ZIPPED) == (413, too_large), "members that hold nothing count too"
    assert kept(services) == []


async def test_others_get_their_turn_while_much_is_unpacked(services):
    head = b'--x\r\nContent-Disposition: form-data; name="unknown"; filename="a"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"}
    async with counted_turns() as turns:
        await post(services, GENERATE, bomb(7, head, b"\r\n--x--\r\n"), headers)
    assert turns[0] >= 7 << 4


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_gzip_in_any_pieces(size):
    data = random.Random(1).randbytes(100_000) + b"a" * 1_000_000
    packed = members(data)
    gunzip = Gunzip()
    out = b"".join(piece for begin in range(0, len(packed), size) for piece in gunzip.feed(packed[begin:begin + size]))
    assert out == data
    assert not gunzip.is_within


async def test_forms_where_tasks_are_asked_for(services):
    status, submitted = await post(services, "/release_task", *form({"prompt": "x"}, {"unknown": ("a", b"")}))
    assert status == 200
    job_id = submitted["data"]["task_id"]
    for name in ("task_id_list", "taskIdList"):
        body, headers = form(None, {name: (None, json.dumps([job_id, "unknown"]))})
        status, answer = await post(services, "/query_result", body, headers)
        assert (status, [task["task_id"] for task in answer["data"]]) == (200, [job_id, "unknown"])


async def test_forms_where_a_text_is_asked_for(services):
    for files in ({"prompt": (None, "x"), "bpm": (None, "90")},
                  {"prompt": (None, "x"), "param_obj": (None, '{"bpm": 90}'), "src_audio": ("a.wav", SOUND)}):
        status, answer = await post(services, "/format_input", *form(None, files))
        assert (status, answer["data"]["caption"], answer["data"]["bpm"]) == (200, "better x", 90)
    assert kept(services) == [], "a file that no text needs is read past"


@pytest.mark.parametrize(("name", "data"), [
    ("src_audio", b"song.wav"), ("src_audio", SOUND), ("referenceAudio", b"\xff" * (2 << 20)), ("ctx_audio", SOUND)])
async def test_a_file_without_its_name_is_a_text_where_a_file_belongs(services, name, data):
    body, headers = form(COVER, {name: (None, data)})
    status, answer = await post(services, GENERATE, body, headers)
    assert (status, answer["detail"]) == (
        400, f"{name}: must be uploaded as a file, in multipart/form-data; its part of the form has no file name")
    as_json = await post(services, GENERATE, json.dumps(COVER | {name: "song.wav"}).encode(), JSON)
    assert as_json == (400, {"detail": f"{name}: must be uploaded as a file, in multipart/form-data"})
    body, headers = form({"prompt": "x"}, {name: (None, b" ")})
    assert (await post(services, GENERATE, body, headers))[0] == 200, "an unused input of a form"


@pytest.mark.parametrize(("name", "called"), [
    ("", "a file without a field name"), (" \t", "a file without a field name"), ("\x00\x1b", "a file without"),
    ("a\x00b", "a b"), ("cover", "cover")])
async def test_a_file_by_no_name_is_named(services, name, called):
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\nx\r\n'
    text = '--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n--x--\r\n'
    status, answer = await post(
        services, GENERATE, (head + text).encode(), {"Content-Type": "multipart/form-data; boundary=x"})
    assert status == 200, answer
    [note] = [note for note in (await services.store.get(answer["job_id"])).work.notes if "no file has" in note]
    assert note.startswith(called)
    assert note.isprintable()


@pytest.mark.parametrize("create", [create_app, create_chat])
async def test_a_slash_at_the_end_changes_nothing(services, create):
    app = create(services)
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<job_id>", "unknown").replace("<path:model_id>", "tiny-base")
        for method in sorted(rule.methods or ()):
            sent = {"data": b'{"prompt": [1]}', "headers": JSON} if method == "POST" else {}
            plain, slashed = [await client.open(end, method=method, **sent) for end in (path, f"{path}/")]
            assert plain.status_code == slashed.status_code, (method, path)
            assert plain.headers.get("Allow") == slashed.headers.get("Allow")
            is_the_same = method == "GET" or plain.status_code >= 400  # other than two jobs that were made
            if is_the_same and "json" in plain.headers.get("Content-Type", ""):
                bodies = [await answer.get_json() for answer in (plain, slashed)]
                for body in bodies:
                    (body or {}).pop("timestamp", None)
                assert bodies[0] == bodies[1]


async def test_a_slash_at_the_end_is_the_same_request(services, tmp_path):
    key = JSON | {"Idempotency-Key": "a"}
    first = await post(services, GENERATE, b'{"caption": "x"}', key)
    assert await post(services, f"{GENERATE}/", b'{"caption": "x"}', key) == first
    flags = {"state": str(tmp_path / "keyed"), "triton_url": "127.0.0.1:9", "native_api_key": "k"}
    async with Services(resolve(flags, {}, {})) as keyed:
        client = create_app(keyed).test_client()
        statuses = [(await client.get(path)).status_code for path in ("/health/", "/livez/", "/v1/models/", "//")]
        assert statuses == [200, 200, 401, 401]


async def test_a_client_that_leaves_within_gzip_leaves_nothing_behind(services):
    body, headers = form(COVER, {"src_audio": ("a", random.Random(2).randbytes(2_000_000))})
    packed = gzip.compress(body)
    headers |= {"Content-Encoding": "gzip", "Content-Length": str(len(packed))}
    async with create_app(services).test_client().request(GENERATE, method="POST", headers=headers) as connection:
        await connection.send(packed[:1_500_000])
        await until(lambda: kept(services))
        await connection.disconnect()
    await until(lambda: not kept(services))
