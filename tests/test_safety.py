"""Attacks: what a client sends is refused in one line, opens no file of ours, and takes no memory to speak of."""

# mypy: allow-untyped-calls

import asyncio
import io
import itertools
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from frontend.audio import sandbox
from frontend.audio.decode import UnreadableAudio
from frontend.audio.sandbox import Child, Sandbox
from frontend.native.paths import open_below
from frontend.native.routes import create_app
from frontend.services import Services
from frontend.settings import SettingsError, resolve
from tests.lone_frontend import LoneFrontend, lone_frontend
from tests.test_native_fields import BOTH

GENERATE = "/v1/music/generate"
COVER = {"task_type": "cover", "batch_size": "1"}
GROWTH = 50 << 20


def wave(seconds=1.0, rate=48_000):
    file = io.BytesIO()
    soundfile.write(file, np.zeros((round(seconds * rate), 2), np.int16), rate, format="WAV")
    return file.getvalue()


def bomb(seconds, claimed):
    """A FLAC of silence, 200 bytes a second; its header says `claimed` frames, 0 is not known."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros((seconds * 48_000, 2), np.int16), 48_000, format="FLAC")
    data = bytearray(file.getvalue())
    data[21] = data[21] & 0xF0 | claimed >> 32  # STREAMINFO: 36 bits
    data[22:26] = struct.pack(">I", claimed & 0xFFFFFFFF)
    return bytes(data)


def header_of_ten_hours():
    """A WAV of 8 kHz, 8 bit, mono whose header promises ten hours; a second follows."""
    form = struct.pack("<HHIIHH", 1, 1, 8_000, 8_000, 1, 8)
    size = 36_000 * 8_000
    return (b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data"
            + struct.pack("<I", size) + b"\x80" * 8_000)


@pytest.fixture(scope="module")
def audio_root(tmp_path_factory):
    """An operator's folder with a song, and links and other things that lead out of it; beside it a secret."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.wav").write_bytes(wave())
    root = outside / "music"
    (root / "below").mkdir(parents=True)
    (root / "below" / "song.wav").write_bytes(wave())
    (root / "inside").symlink_to(root / "below" / "song.wav")
    (root / "out").symlink_to(outside / "secret.wav")
    (root / "parent").symlink_to(outside)
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture(scope="module")
def frontend(tmp_path_factory: pytest.TempPathFactory, audio_root: Path) -> Iterator[LoneFrontend]:
    """A real process whose memory is its own."""
    flags = ("--audio-root", str(audio_root), "--max-upload-mb", "24")
    with lone_frontend(tmp_path_factory.mktemp("lone"), *flags) as running:
        yield running


@pytest.fixture(scope="module")
def warm(frontend):
    """A client of it, once everything is imported there."""
    with httpx.Client(base_url=frontend.native, timeout=120, trust_env=False) as client:
        for _ in range(3):
            client.post(GENERATE, data=COVER, files={"src_audio": ("a", wave())}).raise_for_status()
        yield client


@pytest.fixture
def api(frontend, warm):
    before = frontend.forget_peak()
    yield warm
    assert frontend.peak() - before < GROWTH
    assert warm.get("/health").status_code == 200


def refused(answer, status=400):
    """The one line of a refusal; nothing in it is the server's own."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["detail"]
    detail = answer.json()["detail"]
    for own in ("/tmp", "/root", "Traceback", "File \"", ".py", "\n", "sqlite", "outside"):
        assert own not in detail
    return detail


UPLOADS = {
    "header of ten hours": (header_of_ten_hours(), "src_audio: is longer than 600 seconds"),
    "header of ten hours, flac": (bomb(1, 36_000 * 48_000), "src_audio: is longer than 600 seconds"),
    "flac that does not say its length": (bomb(650, 0), "src_audio: is longer than 600 seconds"),
    "promise of 8 exabytes": (
        b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<IQQQI", 28, 2**63, 2**63, 2**61, 0) + b"fmt "
        + struct.pack("<IHHIIHH", 16, 1, 2, 48_000, 192_000, 4, 16) + b"data\xff\xff\xff\xff" + b"\0" * 9_000,
        "src_audio: is longer than 600 seconds"),
    "an archive": (b"PK\x03\x04" + b"\0" * 100_000, "src_audio: cannot be read"),
    "nothing": (b"", "src_audio: is empty"),
}


@pytest.mark.parametrize("name", UPLOADS)
def test_uploads_that_pretend(api, frontend, name):
    data, detail = UPLOADS[name]
    begin = time.monotonic()
    answer = api.post(GENERATE, data=COVER, files={"src_audio": ("../../x.flac", data)})
    assert refused(answer).startswith(detail)
    assert time.monotonic() - begin < 20
    assert not list(Path("/").glob("x.flac"))


def test_of_a_thousand_channels_the_first_two_are_taken(api):
    form = struct.pack("<IHHIIHH", 16, 1, 1024, 4_000, 2**31, 2048, 16)
    data = b"RIFF\xff\xff\xff\x7fWAVEfmt " + form + b"data\x00\x00\x10\x00" + b"\0" * (1 << 20)
    assert api.post(GENERATE, data=COVER, files={"src_audio": data}).status_code == 200


def test_ten_thousand_parts(api):
    parts = [(f"f{i}", ("", b"")) for i in range(10_000)]
    assert "at most 1000 parts" in refused(api.post(GENERATE, files=parts), 413)


def test_many_broken_bodies_leave_nothing_in_memory(api):
    head = b'--x\r\nContent-Disposition: form-data; name="src_audio"; filename="a"\r\n\r\n'
    for _ in range(60):
        answer = api.post(GENERATE, content=head + b"y" * 1_000_000,
                          headers={"Content-Type": "multipart/form-data; boundary=x"})
        assert refused(answer) == "multipart/form-data: the body is malformed or cut off"


def test_many_long_names_are_refused_before_they_fill_the_memory(api):
    head = b'--x\r\nContent-Disposition: form-data; name="%03d%s"\r\n\r\n\r\n'
    body = b"".join(head % (number, b"y" * 190_000) for number in range(100)) + b"--x--\r\n"
    answer = api.post(GENERATE, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert "short headers" in refused(answer, 413)


@pytest.mark.parametrize(("content_type", "limit"), [
    ("application/json", 1 << 20), ("application/x-www-form-urlencoded", 1 << 20),
    ("multipart/form-data; boundary=x", 24 << 20),
])
def test_a_body_of_a_gigabyte_is_refused_by_its_header(frontend, api, content_type, limit):
    """Before any of it is read."""
    host, port = frontend.native.removeprefix("http://").split(":")
    begin = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(f"POST {GENERATE} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
                    f"Content-Length: {1 << 30}\r\n\r\n".encode() + b"x" * 1000)
        answer = ""
        while "}" not in answer:
            answer += raw.recv(10_000).decode()
    assert answer.startswith("HTTP/1.1 413")
    assert f"at most {limit} bytes" in answer
    assert time.monotonic() - begin < 5


def test_a_body_of_a_gigabyte_without_a_length_is_cut_off(api):
    sent = 0

    def endless():
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="src_audio"; filename="a"\r\n\r\n'
        for _ in range(1024):
            sent += 1 << 20
            yield b"x" * (1 << 20)

    try:
        answer = api.post(GENERATE, content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    except httpx.WriteError:  # the server has hung up, which is as good
        assert sent < 1 << 30
    else:
        refused(answer, 413)


FORMATS = ["../../etc/passwd", "mp3/../../x", "wav\x00.mp3", "/etc/cron.d/x", "mp3;rm", "..", "mp3\r\nX: y", "%2e%2e/"]


@pytest.mark.parametrize("text", FORMATS)
def test_tricks_with_the_format(api, frontend, text):
    assert refused(api.post(GENERATE, json={"caption": "x", "audio_format": text})) == (
        "audio_format: must be one of mp3, wav, flac, opus, aac, wav32")


@pytest.mark.parametrize("path", [
    "/etc/hostname", "../jobs.sqlite", "/audio/../jobs.sqlite", "jobs.sqlite", "/audio/", "\x00", "file:///etc/hostname",
    "....//....//etc/passwd", "/proc/self/environ",
])
def test_no_file_is_served_by_its_path(api, path):
    assert refused(api.get("/v1/audio", params={"path": path}), 404) == "Audio file not found"


PATHS = [
    "/etc/hostname", "../secret.wav", "below/../../secret.wav", "out", "parent/secret.wav", "loop", "pipe", "below",
    ".", "below/song.wav\x00", "/dev/zero", "/proc/self/environ", "no.wav", "x" * 4000, "~/x", "{root}/../secret.wav",
    "file://{root}/below/song.wav",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("field", ["src_audio_path", "referenceAudioPath"])
def test_paths_that_lead_elsewhere(api, audio_root, field, path):
    body = {"task_type": "cover", field: path.replace("{root}", str(audio_root))}
    assert refused(api.post(GENERATE, json=body)) == f"{field}: there is no such file below the server's audio folder"


@pytest.mark.parametrize("path", ["below/song.wav", "{root}/below/song.wav", "inside", "./below//song.wav"])
def test_paths_below_the_operators_folder(api, audio_root, path):
    sent = {"task_type": "cover", "src_audio_path": path.replace("{root}", str(audio_root)), "audio_format": "wav"}
    assert api.post(GENERATE, json=sent).status_code == 200
    assert api.post(GENERATE, data=sent).status_code == 200
    assert (audio_root / "below" / "song.wav").exists(), "it is the operator's"


def test_what_is_below_must_be_audio_all_the_same(api, audio_root):
    (audio_root / "text").write_text("no audio")
    detail = refused(api.post(GENERATE, json={"task_type": "cover", "src_audio_path": "text"}))
    assert detail == "src_audio: cannot be read; it must be wav, flac, ogg, opus, mp3, m4a, aac, webm, mp4 or mov"


def test_a_link_that_changes_sides_is_not_followed(audio_root, monkeypatch):
    """Between the look and the opening."""
    real = os.open
    victim = audio_root / "below" / "swapped.wav"
    victim.write_bytes(b"x")

    def swap(path, flags, *args):
        victim.unlink(missing_ok=True)
        victim.symlink_to(audio_root.parent / "secret.wav")
        return real(path, flags, *args)

    monkeypatch.setattr(os, "open", swap)
    assert open_below(audio_root, "below/swapped.wav") is None


async def test_paths_are_off_by_default_and_an_upload_wins(tmp_path):
    settings = resolve({"state": str(tmp_path), "triton_url": "127.0.0.1:9"}, {}, {})
    async with Services(settings) as services:
        services.catalogue = BOTH
        client = create_app(services).test_client()
        for sent in ({"json": {"task_type": "cover", "src_audio_path": "/etc/hostname"}},
                     {"form": {"task_type": "cover", "src_audio_path": "song.wav"}}):
            answer = await client.post(GENERATE, **sent)
            assert (answer.status_code, await answer.get_json()) == (
                400, {"detail": "src_audio_path: paths are not allowed on this server; upload the file as src_audio"})
        built = httpx.Request("POST", "http://x", data=COVER | {"src_audio_path": "/x"}, files={"src_audio": wave()})
        answer = await client.post(GENERATE, data=built.read(), headers=dict(built.headers))
        assert answer.status_code == 200


def test_an_audio_root_must_be_there():
    with pytest.raises(SettingsError, match="AUDIO_ROOT: there is no folder"):
        resolve({"audio_root": "/no/such/folder"}, {}, {})


LONG = [("caption", 2_001), ("lyrics", 8_001), ("audio_code_string", 100_001), ("lm_negative_prompt", 2_001),
        ("instruction", 501), ("seed", 100_000), ("timesteps", 100_000), ("key_scale", 10_000), ("bpm", 900_000)]


@pytest.mark.parametrize(("field", "length"), LONG)
def test_texts_have_limits(api, field, length):
    detail = refused(api.post(GENERATE, json={"caption": "x", field: "9" * length}))
    assert detail.startswith(f"{field}: must")
    assert len(detail) < 500


@pytest.mark.parametrize("body", [
    '{"a":' * 100_000, "[" * 500_000, '{"caption": "x", "bpm": ' + "9" * 100_000 + "}", '{"caption": "\\ud800"}',
    '{"caption": "x", "audio_duration": NaN}', '{"caption": "x", "seed": 1e999}', "\x00", '{"caption"', "{}",
])
def test_json_that_hurts(api, body):
    refused(api.post(GENERATE, content=body.encode(), headers={"Content-Type": "application/json"}))


def test_a_head_that_does_not_end(frontend, api):
    host, port = frontend.native.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 17_000)
        answer = b"".join(iter(lambda: raw.recv(1_000), b""))  # until the server hangs up
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.fixture
def stuck(tmp_path):
    """A child that waits for a pipe which never speaks."""
    os.mkfifo(tmp_path / "pipe")
    holder = os.open(tmp_path / "pipe", os.O_RDWR)
    yield tmp_path / "pipe"
    os.close(holder)


def test_a_decoder_has_limits_and_knows_no_secret(stuck, monkeypatch):
    monkeypatch.setenv("ACESTEP_API_KEY", "the secret")
    with Child(lambda child: False) as child:
        assert child.give("measure", stuck)
        process = Path(f"/proc/{child._process.pid}")
        for _ in range(500):
            limits = {line[:25].strip(): line[26:].split()[0] for line in (process / "limits").read_text().splitlines()}
            if limits["Max core file size"] == "0" and limits["Max cpu time"] == "60":
                break
            time.sleep(0.02)
        assert limits["Max address space"] == str(512 << 20)
        assert limits["Max file size"] == "0"
        assert b"secret" not in (process / "environ").read_bytes()


def test_a_decoder_that_hangs_is_ended(stuck, monkeypatch):
    monkeypatch.setattr(sandbox, "_WALL_SECONDS", 0.4)
    with pytest.raises(UnreadableAudio, match="takes too long"):
        Sandbox().measure(stuck)


async def test_names_are_random(tmp_path):
    settings = resolve({"state": str(tmp_path), "triton_url": "127.0.0.1:9"}, {}, {})
    async with Services(settings) as services:
        services.catalogue = BOTH
        client = create_app(services).test_client()
        built = httpx.Request("POST", "http://x", data=COVER, files={"src_audio": ("name.wav", wave())})
        answers = [await client.post(GENERATE, data=built.read(), headers=dict(built.headers)) for _ in range(2)]
        ids = [(await answer.get_json())["job_id"] for answer in answers]
        names = [path.name for path in (tmp_path / "uploads").iterdir()]
    assert len(set(ids)) == len(set(names)) == 2
    assert all(len(name) == 32 and not set(name) - set("0123456789abcdef") for name in names)
    shared = sum(a == b for a, b in itertools.zip_longest(*names))
    assert shared < 16


async def test_hundreds_of_refusals_leave_nothing(frontend):
    """No file, no job, no memory."""
    state = Path(frontend.process.cmdline()[3])
    uploads = len(list((state / "uploads").iterdir()))
    before = frontend.forget_peak()
    async with httpx.AsyncClient(base_url=frontend.native, timeout=60) as client:
        async def attack(number):
            body = {"task_type": "repaint", "repainting_start": -601, "caption": "x" * 1_900 + str(number)}
            return (await client.post(GENERATE, data=body, files={"src_audio": b"x" * 100_000})).status_code

        for _ in range(7):
            assert set(await asyncio.gather(*(attack(number) for number in range(30)))) == {400}
    assert len(list((state / "uploads").iterdir())) == uploads
    assert frontend.peak() - before < GROWTH
