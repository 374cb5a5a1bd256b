"""Audio files: the spool, gain, formats, tags, and how files are served."""

# mypy: allow-untyped-calls

import asyncio
import os
import threading
import time

import numpy as np
import pytest
import soundfile
from quart import Quart, request

from frontend.answers import new_app
from frontend.audio.encode import PEAK, SAMPLE_RATE, Stopped, Tags, encode, gain, write_file
from frontend.audio.serve import serve_file
from frontend.audio.spool import Spool, sweep

TAGS = Tags(title="A title 🎵", artist="ACE-Step (tiny)", comment="AI-generated; model tiny; seed 7")
SECONDS = 2.0
FRAMES = round(SECONDS * SAMPLE_RATE)


def signal(kind):
    """float32 [frames, 2], peak 0.5 on the left, half of it on the right."""
    if kind == "silence":
        return np.zeros((FRAMES, 2), np.float32)
    left = np.random.default_rng(0).standard_normal(FRAMES)
    if kind == "tone":
        left = np.sin(2 * np.pi * 440 * np.arange(FRAMES) / SAMPLE_RATE)
    left = 0.5 * left / np.abs(left).max()
    return np.stack([left, 0.5 * left], axis=1).astype(np.float32)


def written(tmp_path, audio_format, samples):
    source, target = tmp_path / "0.f32", tmp_path / f"x.{audio_format}"
    source.write_bytes(samples.tobytes())
    encode(source, target, audio_format, gain(float(np.abs(samples).max())), TAGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.f32", target.name]
    return target


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
@pytest.mark.parametrize("kind", ["noise", "tone", "silence"])
def test_lossless_files_hold_the_samples_at_minus_1_dbfs(tmp_path, audio_format, kind):
    samples = signal(kind)
    target = written(tmp_path, audio_format, samples)
    info = soundfile.info(target)
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (48_000, 2, FRAMES, "PCM_16")
    decoded, _ = soundfile.read(target, dtype="float32")
    factor = 0.0 if kind == "silence" else 10 ** (-1 / 20) / 0.5
    assert np.abs(decoded - samples * factor).max() <= 1 / 32768
    assert np.abs(decoded).max() == pytest.approx(0.0 if kind == "silence" else PEAK, abs=1 / 32768)


@pytest.mark.parametrize("kind", ["noise", "tone", "silence"])
def test_mp3_has_192_kbit_and_the_right_length(tmp_path, kind):
    samples = signal(kind)
    target = written(tmp_path, "mp3", samples)
    decoded, rate = soundfile.read(target, dtype="float32")
    assert rate == 48_000
    assert decoded.shape[1] == 2
    assert abs(len(decoded) / rate - SECONDS) <= 0.1
    assert target.stat().st_size * 8 / SECONDS >= 192_000
    if kind == "tone":
        middle = slice(FRAMES // 4, FRAMES // 2)
        wanted = samples[middle] * PEAK / 0.5
        assert np.abs(decoded[middle] - wanted).max() < 0.005, "level, channels and position are kept"


@pytest.mark.parametrize("audio_format", ["mp3", "wav", "flac"])
def test_tags(tmp_path, audio_format):
    with soundfile.SoundFile(written(tmp_path, audio_format, signal("tone"))) as file:
        assert (file.title, file.artist, file.comment) == (TAGS.title, TAGS.artist, TAGS.comment)


def test_equal_samples_give_equal_bytes(tmp_path):
    for audio_format in ("mp3", "wav", "flac"):
        files = []
        for run in range(2):
            (tmp_path / f"{audio_format}{run}").mkdir()
            files.append(written(tmp_path / f"{audio_format}{run}", audio_format, signal("noise")).read_bytes())
        assert files[0] == files[1]


def test_gain():
    assert gain(0.0) == 1.0
    assert gain(1.0) == pytest.approx(0.8912509)
    assert gain(4.0) * 4.0 == pytest.approx(0.8912509)


def test_a_failed_encode_leaves_nothing(tmp_path):
    stop = threading.Event()
    stop.set()
    (tmp_path / "0.f32").write_bytes(signal("tone").tobytes())
    with pytest.raises(Stopped):
        encode(tmp_path / "0.f32", tmp_path / "x.mp3", "mp3", 1.0, TAGS, stop)
    assert [path.name for path in tmp_path.iterdir()] == ["0.f32"]


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  the condition is on disk
            await asyncio.sleep(0.01)


async def test_a_cancelled_write_stops_soon(tmp_path):
    source = tmp_path / "0.f32"
    with source.open("wb") as file:
        file.truncate(600 * SAMPLE_RATE * 8)  # ten minutes of silence
    task = asyncio.create_task(write_file(source, tmp_path / "x.mp3", "mp3", 1.0, TAGS))
    await until(lambda: (tmp_path / ".x.mp3.raw").exists())
    started = time.monotonic()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: not (tmp_path / ".x.mp3.raw").exists())
    assert time.monotonic() - started < 2
    assert not (tmp_path / "x.mp3").exists()


async def test_spool_keeps_items_apart_and_in_order(tmp_path):
    pcm = np.arange(24, dtype=np.float32).reshape(2, 12)
    async with Spool(tmp_path / "song") as spool:
        await spool.write(0, 0, pcm[:, :5])
        await spool.write(1, 0, pcm[:, ::-1])
        await spool.write(0, 5, pcm[:, 5:])
        assert (spool.frames(0), spool.frames(1), spool.frames(2)) == (12, 12, 0)
        assert np.array_equal(np.fromfile(spool.file(0), "<f4").reshape(-1, 2), pcm.T)
        assert np.array_equal(np.fromfile(spool.file(1), "<f4").reshape(-1, 2), pcm[:, ::-1].T)
        for item, offset, samples in ((0, 11, pcm), (0, 13, pcm), (2, 1, pcm), (0, 12, pcm[:1]), (0, 12, pcm[0])):
            with pytest.raises(ValueError, match="do not continue"):
                await spool.write(item, offset, samples)
    assert not (tmp_path / "song").exists()


def test_sweep_takes_what_is_old_alone(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.f32").write_bytes(b"x")
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / "old", (long_ago, long_ago))
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.fixture
def file_app(tmp_path) -> Quart:
    (tmp_path / "abc.wav").write_bytes(bytes(range(256)) * 4)
    app = new_app("files", 1000)

    @app.get("/there")
    async def there():
        return await serve_file(request, tmp_path / "abc.wav", "wav")

    @app.get("/gone")
    async def gone():
        return await serve_file(request, tmp_path / "gone.wav", "wav")

    return app


WHOLE = bytes(range(256)) * 4


@pytest.mark.parametrize(("header", "status", "content_range", "body"), [
    (None, 200, None, WHOLE),
    ("bytes=0-9", 206, "bytes 0-9/1024", WHOLE[:10]),
    ("bytes=0-0", 206, "bytes 0-0/1024", WHOLE[:1]),
    ("bytes=1000-", 206, "bytes 1000-1023/1024", WHOLE[1000:]),
    ("bytes=1000-99999", 206, "bytes 1000-1023/1024", WHOLE[1000:]),
    ("bytes=-5", 206, "bytes 1019-1023/1024", WHOLE[-5:]),
    ("bytes=-99999", 206, "bytes 0-1023/1024", WHOLE),
    ("bytes=1024-", 416, "bytes */1024", None),
    ("bytes=5-2", 200, None, WHOLE),
    ("bytes=-0", 200, None, WHOLE),
    ("bytes=0-1,5-6", 200, None, WHOLE),
    ("lines=0-1", 200, None, WHOLE),
    ("junk", 200, None, WHOLE),
])
async def test_ranges(file_app, header, status, content_range, body):
    headers = {} if header is None else {"Range": header}
    answer = await file_app.test_client().get("/there", headers=headers)
    assert answer.status_code == status
    assert answer.headers.get("Content-Range") == content_range
    if body is None:
        assert (await answer.get_json())["detail"] == "Range: lies beyond the end of the file"
    else:
        assert await answer.get_data() == body
        assert answer.headers["Content-Length"] == str(len(body))
        assert answer.headers["Content-Type"] == "audio/wav"
        assert answer.headers["Accept-Ranges"] == "bytes"


async def test_conditions_and_head(file_app):
    client = file_app.test_client()
    tag = (await client.get("/there")).headers["ETag"]
    assert (await client.get("/there", headers={"If-None-Match": tag})).status_code == 304
    assert (await client.get("/there", headers={"Range": "bytes=0-1", "If-Range": tag})).status_code == 206
    assert (await client.get("/there", headers={"Range": "bytes=0-1", "If-Range": '"other"'})).status_code == 200
    head = await client.head("/there", headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.headers["Content-Length"]) == (200, "1024"), "ranges are for GET alone"


async def test_a_file_that_is_gone_is_a_404_without_its_path(file_app):
    answer = await file_app.test_client().get("/gone")
    assert (answer.status_code, await answer.get_json()) == (404, {"detail": "Audio file not found"})
