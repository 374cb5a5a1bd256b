"""Uploads over HTTP up to the queue: multipart bodies, what is refused, what stays on disk; no Triton needed."""

# mypy: allow-untyped-calls

import asyncio
import io
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import soundfile
from quart import request
from tritonclient.grpc import service_pb2

from frontend import paced
from frontend.answers import new_app
from frontend.audio.decode import FORMATS
from frontend.errors import RequestError
from frontend.jobs.job import Upload
from frontend.native.multipart import read_form
from frontend.native.routes import create_app
from frontend.services import Services
from frontend.settings import resolve
from frontend.songs.wire import encode
from frontend.uploads import Uploads
from tests.support.waiting import counted_turns, until
from tests.test_native_fields import BOTH

ONLY = f"it must be {FORMATS}"
PATH = "/v1/music/generate"
COVER = {"task_type": "cover", "batch_size": "1"}


def sound(container="FLAC", rate=48_000, channels=2, seconds=10.0):
    """A file of noise."""
    wave = np.random.default_rng(3).uniform(-0.5, 0.5, (round(rate * seconds), channels))
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=container)
    return file.getvalue()


SOUND = sound()


@pytest.fixture
async def services(tmp_path):
    """A frontend that knows models but reaches no Triton, with room for two jobs and small bodies."""
    settings = resolve(
        {"state": str(tmp_path), "triton_url": "127.0.0.1:9", "queue_maxsize": "2", "max_upload_mb": "8"}, {}, {})
    async with Services(settings) as running:
        running.catalogue = BOTH
        yield running


def kept(services):
    return sorted(path.name for path in (services.settings.state / "uploads").iterdir())


async def post(services, data=None, files=None, **changed):
    """(status, body) of a submission."""
    built = httpx.Request("POST", "http://x" + PATH, data=data, files=files)
    headers = {"Content-Type": built.headers.get("Content-Type", "")} | changed.get("headers", {})
    answer = await create_app(services).test_client().post(
        PATH, data=changed.get("body", built.read()), headers=headers)
    return answer.status_code, await answer.get_json()


async def refusal(services, *args, status=400, **changed):
    answered, body = await post(services, *args, **changed)
    assert (answered, list(body)) == (status, ["detail"]), body
    assert "\n" not in body["detail"]
    assert kept(services) == [], "a refused request leaves nothing behind"
    return body["detail"]


async def job_of(services, *args, **changed):
    status, body = await post(services, *args, **changed)
    assert status == 200, body
    return await services.store.get(body["job_id"])


async def test_a_form_with_files_becomes_a_job_with_uploads(services):
    job = await job_of(services, COVER | {"metas": json.dumps({"bpm": 90}), "audioCoverStrength": "0.5"}, {
        "src_audio": ("../../evil.wav", SOUND), "referenceAudio": ("x", sound("MP3", 44_100, 1), "audio/mpeg"),
        "unknown": ("y", b"z" * 100_000), "lyrics": (None, "la\r\nlà 🎵"),
    })
    assert (job.work.song["task"], job.work.song["bpm"], job.work.song["cover_strength"]) == ("cover", 90, 0.5)
    assert job.work.song["lyrics"] == "la\nlà 🎵"
    source, reference = job.work.uploads["src_audio"], job.work.uploads["reference_audio"]
    assert kept(services) == sorted([source.file, reference.file])
    assert (services.settings.state / "uploads" / source.file).read_bytes() == SOUND
    assert source.samples == 480_000
    assert abs(reference.samples - 480_000) < 2_000
    assert not list(services.settings.state.parent.rglob("*evil*"))
    assert (await services.uploads.load(source)).shape == (2, 480_000)


RAW = {"Content-Type": "multipart/form-data; boundary=x"}


def raw(filename, data, task=b"cover"):
    """A body as browsers write it: a text, and one file."""
    return (b'--x\r\nContent-Disposition: form-data; name="task_type"\r\n\r\n' + task + b"\r\n"
            b'--x\r\nContent-Disposition: form-data; name="src_audio"; filename="' + filename + b'"\r\n'
            b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n--x--\r\n")


async def test_an_unused_form_input_is_no_upload(services):
    detail = await refusal(services, body=raw(b"", b""), headers=RAW)
    assert detail.startswith("src_audio: is needed by cover")
    named = await refusal(services, body=raw(b"a.wav", b""), headers=RAW)
    assert named == f"src_audio: is empty; {ONLY}"
    unreadable = await refusal(services, body=raw(b"", b"bytes"), headers=RAW)
    assert unreadable == f"src_audio: cannot be read; {ONLY}"
    job = await job_of(services, body=raw(b"", SOUND), headers=RAW)
    assert job.work.uploads["src_audio"].samples == 480_000


async def test_a_source_that_is_not_used_is_not_kept(services):
    job = await job_of(services, {"caption": "x"}, {"src_audio": ("a", SOUND)})
    assert job.work.uploads == {}
    assert kept(services) == []
    assert job.work.notes[0] == "src_audio was not used: text2music follows none"


async def test_forms_without_files(services):
    job = await job_of(services, {"caption": "a b", "seed": "7", "use_random_seed": "false", "bpm": ""})
    assert (job.work.song["caption"], job.work.song["seeds"], job.work.song["bpm"]) == ("a b", [7, 8], None)


@pytest.mark.parametrize(("fields", "files", "detail"), [
    (COVER, {"src_audio": ("a.wav", b"")}, f"src_audio: is empty; {ONLY}"),
    (COVER, {"srcAudio": ("a.mp3", b"hello " * 5000)}, f"src_audio: cannot be read; {ONLY}"),
    (COVER, {"src_audio": ("a", SOUND), "reference_audio": ("b", SOUND[:5000])},
     f"reference_audio: cannot be read; {ONLY}"),
    ({"caption": "x"}, {"src_audio": ("a", b"unreadable")}, f"src_audio: cannot be read; {ONLY}"),
    (COVER, {"src_audio": ("a", sound("WAV", 4_000, 1, 601))}, "src_audio: is longer than 600 seconds"),
    (COVER, {"src_audio": ("a", sound(seconds=0.099))}, "src_audio: is shorter than 0.1 seconds"),
    (COVER, {"caption": ("a.txt", b"x"), "src_audio": ("a", SOUND)}, "caption: must be text, not a file"),
    (COVER, [("src_audio", ("a", SOUND)), ("srcAudio", ("b", SOUND))], "src_audio: only one file is taken"),
    (COVER, {"src_audio": (None, "song.wav")}, "src_audio: must be uploaded as a file, in multipart/form-data"),
    (COVER, {"reference_audio": ("a", SOUND)}, f"src_audio: is needed by cover; upload {FORMATS}"),
    (COVER | {"task_type": "lego"}, {"src_audio": ("a", SOUND)},
     "task_type: lego is not a task of tiny-turbo; these models can: tiny-base"),
    (COVER | {"task_type": "repaint", "repainting_start": "10"}, {"src_audio": ("a", SOUND)},
     "repainting_start: must be before the source's end, 10 seconds"),
    (COVER | {"task_type": "repaint", "repainting_start": "5", "repainting_end": "3"}, {"src_audio": ("a", SOUND)},
     "repainting_end: must be -1 or above repainting_start"),
    (COVER, {"lyrics": (None, b"\xff"), "src_audio": ("a", SOUND)}, "multipart/form-data: text must be UTF-8"),
])
async def test_refused_uploads(services, fields, files, detail):
    assert (await refusal(services, fields, files)).startswith(detail)


async def test_the_shortest_source_and_a_reference_of_any_length(services):
    files = {"src_audio": ("a", sound(seconds=0.1)), "reference_audio": ("b", sound(seconds=0.01))}
    job = await job_of(services, COVER, files)
    assert {field: upload.samples for field, upload in job.work.uploads.items()} == {
        "src_audio": 4_800, "reference_audio": 480}


BROKEN = "multipart/form-data: the body is malformed or cut off"
HEAD = b'--x\r\nContent-Disposition: form-data; name="src_audio"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(("body", "detail"), [
    (b"", BROKEN), (b"junk", BROKEN), (HEAD + SOUND, BROKEN), (HEAD + SOUND + b"\r\n--x", BROKEN),
    (b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--", BROKEN), (b"--x\r\n\r\na\r\n--x--", BROKEN),
    (b"--x\r\nContent-Disposition: form-data; name=\xff\r\n\r\na\r\n--x--", BROKEN),
])
async def test_broken_multipart(services, body, detail):
    assert await refusal(services, COVER, body=body, headers=RAW) == detail
    missing = await refusal(services, COVER, body=body, headers={"Content-Type": "multipart/form-data"})
    assert missing == "multipart/form-data: the boundary is missing"


async def test_too_much_is_a_413(services):
    half = ("a", b"x" * (5 << 20))
    detail = await refusal(services, COVER, {"src_audio": half, "reference_audio": half}, status=413)
    assert detail == "Request body too large: at most 8388608 bytes"
    text = await refusal(services, {"lyrics": "x" * (2 << 20)}, {"src_audio": ("a", SOUND)}, status=413)
    assert text == "multipart/form-data: at most 1048576 bytes of text"
    parts = await refusal(services, {f"f{i}": "" for i in range(1001)}, {"src_audio": ("a", SOUND)}, status=413)
    assert parts == "multipart/form-data: at most 1000 parts with short headers"
    for long in (b"--x\r\nX: " + b"y" * 25_000, b"y" * 25_000, raw(b"a", SOUND) + b"y" * 25_000):
        assert await refusal(services, COVER, body=long, headers=RAW, status=413) == parts


@pytest.mark.parametrize("filename", [b"", b'; filename="a"'])
async def test_the_heads_of_parts_count_as_text(services, filename):
    """Names of texts stay in memory, and each head takes its time to read."""
    body = b"".join(b'--x\r\nContent-Disposition: form-data; name="%d%s"%s\r\n\r\n\r\n' % (i, b"y" * 7_000, filename)
                    for i in range(151))
    detail = await refusal(services, body=body + b"--x--\r\n", headers=RAW, status=413)
    assert detail == "multipart/form-data: at most 1048576 bytes of text"


@pytest.fixture
async def full(services):
    """The frontend, once its queue is full; the names of its uploads."""
    for _ in range(2):
        await job_of(services, COVER, {"src_audio": ("a", SOUND)})
    assert len(kept(services)) == 2
    return kept(services)


async def test_a_full_queue_leaves_nothing_behind(services, full):
    """Also where it is noticed last, because the key might have been that of an earlier job."""
    answer = await post(services, COVER, {"src_audio": ("a", SOUND)}, headers={"Idempotency-Key": "new"})
    assert answer == (429, {"detail": "Server busy: queue is full"})
    assert kept(services) == full


async def test_a_full_queue_is_noticed_before_the_body_is_read(services, full):
    answer = await create_app(services).test_client().post(PATH, data=b"junk", headers=RAW)
    assert (answer.status_code, await answer.get_json()) == (429, {"detail": "Server busy: queue is full"})
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await post(services, body=b"junk", headers=RAW | {"Idempotency-Key": "a"}))[0] == 400, "it may have its job"


async def test_a_client_that_leaves_midway_leaves_nothing_behind(services):
    built = httpx.Request("POST", "http://x", data=COVER, files={"src_audio": ("a", sound("WAV"))})
    client = create_app(services).test_client()
    headers = {"Content-Type": built.headers["Content-Type"], "Content-Length": built.headers["Content-Length"]}
    async with client.request(PATH, method="POST", headers=headers) as connection:
        await connection.send(built.read()[: 1_500_000])
        await until(lambda: kept(services))
        await connection.disconnect()
    await until(lambda: not kept(services))
    assert not await services.store.list(10)


async def test_uploads_survive_a_restart_and_orphans_do_not(services):
    job = await job_of(services, COVER, {"src_audio": ("a", SOUND)})
    folder = services.settings.state / "uploads"
    for name in ("orphan", "young"):
        (folder / name).write_bytes(b"x")
    long_ago = time.time() - 7200
    for name in ("orphan", job.work.uploads["src_audio"].file):
        os.utime(folder / name, (long_ago, long_ago))
    async with Services(services.settings) as again:
        assert kept(again) == sorted(["young", job.work.uploads["src_audio"].file])
        claim = await again.store.claim("w", 30)
        assert claim is not None
        assert claim.job.work == job.work
        assert await again.store.uploads() == list(job.work.uploads.values()), "a running job needs them too"
        await again.store.finish(claim, {}, [])
        assert await again.store.uploads() == []


def test_a_request_is_put_on_the_wire_as_protobuf_would():
    sounds = {"src_audio": np.arange(600, dtype=np.float32).reshape(2, 300), "reference_audio": np.ones((2, 1), "f4")}
    message = service_pb2.ModelInferRequest.FromString(encode({"caption": "ü"}, "id", sounds))
    assert (message.model_name, message.id) == ("acestep", "id")
    assert [(entry.name, entry.datatype, list(entry.shape)) for entry in message.inputs] == [
        ("request", "BYTES", [1]), ("src_audio", "FP32", [2, 300]), ("reference_audio", "FP32", [2, 1])]
    text, source, reference = message.raw_input_contents
    assert json.loads(text[4:]) == {"caption": "ü"}
    assert int.from_bytes(text[:4], "little") == len(text) - 4
    assert np.array_equal(np.frombuffer(source, "<f4").reshape(2, 300), sounds["src_audio"])
    assert reference == np.ones(2, "<f4").tobytes()


async def pieces(data, size):
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_a_body_may_come_in_any_pieces(tmp_path, size):
    nasty = b"\r\n--x\r\n-\r\n--boundar" * 50 + bytes(range(256)) * 10 + b"\r"
    built = httpx.Request("POST", "http://x", data={"a": "1", "b": "ü"}, files={"src_audio": ("f", nasty)})
    uploads = Uploads(tmp_path)
    async with uploads.intake() as intake:
        texts = await read_form(built.headers["Content-Type"], pieces(built.read(), size), 1000, intake)
        assert texts == {"a": "1", "b": "ü"}
        [file] = tmp_path.iterdir()
        assert file.read_bytes() == nasty
        await intake.save([Upload(file.name, 1)])
    assert file.exists()
    uploads.close()


async def test_others_get_their_turn_while_a_body_that_is_there_is_read(tmp_path):
    async with counted_turns() as turns, Uploads(tmp_path).intake() as intake:
        body = raw(b"a", SOUND[:1_000_000])
        assert await read_form(RAW["Content-Type"], pieces(body, len(body)), 1000, intake)
    assert turns[0] >= len(body) >> 14


def test_a_request_without_files_needs_no_thread(tmp_path):
    async def take_nothing():
        threads = ThreadPoolExecutor(1)
        threads.shutdown()
        asyncio.get_running_loop().set_default_executor(threads)
        uploads = Uploads(tmp_path)
        async with uploads.intake() as intake:
            await intake.settle({})
            await intake.save(())
        await uploads.discard(())
        with pytest.raises(RuntimeError, match="after shutdown"):
            await asyncio.to_thread(uploads.open)

    asyncio.run(take_nothing())


async def test_a_stop_gives_up_what_is_being_decoded(tmp_path):
    soundfile.write(tmp_path / "long", np.zeros(4_000 * 599, np.int16), 4_000, format="FLAC")
    uploads = Uploads(tmp_path)
    async with uploads.intake() as intake:
        sink = intake.receive("src_audio")
        await sink.write((tmp_path / "long").read_bytes())
        await sink.close()
        measuring = asyncio.create_task(intake.measure())
        await until(lambda: uploads._sandbox._children)
        uploads.close()
        with pytest.raises(RequestError) as error:
            await asyncio.wait_for(measuring, 20)
    assert error.value.status == 503


def paced_app():
    """An app that reads its body when told to, and the sizes of what it has got."""
    app, go, got = new_app("paced"), asyncio.Event(), []

    @app.post("/")
    async def read():
        await go.wait()
        async for data in paced.chunks(request, 64 << 20):
            got.append(len(data))
        return str(sum(got))

    return app, go, got


async def test_a_body_waits_at_the_sender_until_it_is_read():
    app, go, got = paced_app()
    async with app.test_client().request("/", method="POST") as connection:
        for _ in range(500):
            await connection.send(b"x" * 65_536)
        await asyncio.sleep(0.1)
        waiting = connection._send_queue.qsize()
        go.set()
        await connection.send_complete()
    assert waiting >= 500 - 17, "a megabyte is taken before anybody reads"
    assert await (await connection.as_response()).get_data() == str(500 * 65_536).encode()
    assert max(got) <= 17 * 65_536


async def test_a_slow_body_is_not_cut_off_and_a_silent_one_is(monkeypatch):
    monkeypatch.setattr(paced, "_IDLE_SECONDS", 0.3)
    app, go, got = paced_app()
    go.set()
    async with app.test_client().request("/", method="POST") as connection:
        for _ in range(5):
            await connection.send(b"x")
            await asyncio.sleep(0.1)
        assert sum(got) == 5
    answer = await connection.as_response()
    assert (answer.status_code, await answer.get_json()) == (
        408, {"detail": "Request body: nothing came for 0.3 seconds"})
