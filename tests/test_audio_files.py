"""Audio files: the spool, gain, formats, tags, how files are served, and what uploads are decoded to."""

# mypy: allow-untyped-calls

import asyncio
import os
import struct
import threading
import time

import av
import numpy as np
import pytest
import soundfile
from quart import Quart, request

from frontend.answers import new_app
from frontend.audio import decode, sandbox
from frontend.audio.decode import UnreadableAudio, measure
from frontend.audio.encode import PEAK, Stopped, encode, gain, limit, write_file
from frontend.audio.formats import SONG_FORMATS
from frontend.audio.pcm import SAMPLE_RATE
from frontend.audio.sandbox import Child, Sandbox
from frontend.audio.serve import serve_file
from frontend.audio.spool import Spool, sweep
from frontend.audio.writers import Tags

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
    assert decoded.shape == (FRAMES, 2), "the samples that LAME adds are declared"
    if kind != "silence":
        assert target.stat().st_size * 8 / SECONDS >= 192_000
    if kind == "tone":
        middle = slice(FRAMES // 4, FRAMES // 2)
        wanted = samples[middle] * PEAK / 0.5
        assert np.abs(decoded[middle] - wanted).max() < 0.005, "level, channels and position are kept"


ADDED = {"aac": (1024, 2 * 1024)}  # ADTS cannot say that the first frame is the encoder's: place of a click, length


@pytest.mark.parametrize("audio_format", SONG_FORMATS)
def test_every_format_keeps_length_and_place(tmp_path, audio_format):
    """A click is heard where it was, by FFmpeg; the length is exact wherever the container can say it."""
    samples = np.zeros((FRAMES + 17, 2), np.float32)
    samples[48_000] = 0.5
    decoded = heard(written(tmp_path, audio_format, samples))
    delay, most = ADDED.get(audio_format, (0, 0))
    assert FRAMES + 17 <= len(decoded) <= FRAMES + 17 + most
    assert np.abs(decoded).argmax(axis=0).tolist() == [48_000 + delay] * 2


def heard(path):
    """float32 [n, 2] as FFmpeg decodes it, at 48 kHz."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.rate == 48_000
        form = av.AudioResampler("fltp", "stereo", 48_000)
        blocks = [part.to_ndarray() for frame in container.decode(stream) for part in form.resample(frame)]
    return np.concatenate(blocks, axis=1).T


def test_wav32_holds_the_samples_as_they_are(tmp_path):
    samples = signal("noise")
    target = written(tmp_path, "wav32", samples)
    assert soundfile.info(target).subtype == "FLOAT"
    decoded, _ = soundfile.read(target, dtype="float32")
    assert np.array_equal(decoded, samples * np.float32(gain(0.5)))


@pytest.mark.parametrize("audio_format", ["opus", "aac"])
def test_lossy_formats_keep_level_and_channels(tmp_path, audio_format):
    samples = signal("tone")
    decoded = heard(written(tmp_path, audio_format, samples))[ADDED.get(audio_format, (0, 0))[0]:]
    middle = slice(4800, FRAMES - 4800)
    wanted = samples[middle] * PEAK / 0.5
    assert ((decoded[middle] - wanted) ** 2).mean() < (wanted**2).mean() / 1000


@pytest.mark.parametrize("audio_format", SONG_FORMATS)
def test_tags(tmp_path, audio_format):
    with av.open(str(written(tmp_path, audio_format, signal("tone")))) as file:
        tags = file.metadata | file.streams[0].metadata
    assert (tags["title"], tags["artist"], tags["comment"]) == (TAGS.title, TAGS.artist, TAGS.comment)


def test_a_long_mp3_can_be_sought_by_its_table(tmp_path):
    """Silence costs little and noise much: the table leads to the middle of the music, not of the file."""
    samples = np.tile(signal("noise"), (8, 1))
    samples[: len(samples) // 2] = 0
    data = written(tmp_path, "mp3", samples).read_bytes()
    xing = data.index(b"Xing")
    flags, frames, size = struct.unpack(">III", data[xing + 4 : xing + 16])
    assert (flags, size) == (15, len(data) - data.index(b"\xff\xfb"))
    assert 0 <= frames * 1152 - 576 - len(samples) < 3 * 1152
    table = data[xing + 16 : xing + 116]
    assert list(table) == sorted(table)
    first, last = size * table[49] // 256, size - size * table[51] // 256
    assert first < last * 0.6


def test_equal_samples_give_equal_bytes(tmp_path):
    for audio_format in SONG_FORMATS:
        files = []
        for run in range(2):
            (tmp_path / f"{audio_format}{run}").mkdir()
            files.append(written(tmp_path / f"{audio_format}{run}", audio_format, signal("noise")).read_bytes())
        assert files[0] == files[1]


def test_gain():
    assert gain(0.0) == 1.0
    assert gain(1.0) == pytest.approx(0.8912509)
    assert gain(4.0) * 4.0 == pytest.approx(0.8912509)


def test_a_kept_level_is_lowered_only_where_it_clips():
    assert [limit(peak) for peak in (0.0, 0.3, 1.0, 2.0)] == [1.0, 1.0, 1.0, 0.5]


@pytest.mark.parametrize("audio_format", SONG_FORMATS)
def test_a_failed_encode_leaves_nothing(tmp_path, audio_format):
    stop = threading.Event()
    stop.set()
    (tmp_path / "0.f32").write_bytes(signal("tone").tobytes())
    with pytest.raises(Stopped):
        encode(tmp_path / "0.f32", tmp_path / "x", audio_format, 1.0, TAGS, stop)
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
    await until(lambda: (tmp_path / ".x.mp3.part").exists())
    started = time.monotonic()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: not (tmp_path / ".x.mp3.part").exists())
    assert time.monotonic() - started < 10
    assert not (tmp_path / "x.mp3").exists()


@pytest.fixture
async def held(tmp_path):
    """More files being written than any pool has threads: each waits for samples from a pipe of its own."""
    tasks, pipes = [], []
    for i in range(33 + (os.cpu_count() or 1)):
        os.mkfifo(tmp_path / f"{i}.f32")
        pipes.append(os.open(tmp_path / f"{i}.f32", os.O_RDWR))
        tasks.append(asyncio.create_task(write_file(tmp_path / f"{i}.f32", tmp_path / f"{i}.wav", "wav", 1.0, TAGS)))
    await until(lambda: len(list(tmp_path.glob(".*.part"))) >= (os.cpu_count() or 1))
    yield tasks
    for i, pipe in enumerate(pipes):
        (tmp_path / f"{i}.f32").unlink()
        (tmp_path / f"{i}.f32").touch()  # for those that have not opened it yet
        os.close(pipe)
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_files_being_written_hold_up_nothing_else(held):
    await asyncio.wait_for(asyncio.to_thread(lambda: None), 5)
    assert not any(task.done() for task in held)


async def test_a_cancelled_write_does_not_wait_for_others(held, tmp_path):
    held[-1].cancel()
    await asyncio.wait(held[-1:], timeout=5)
    assert [task for task in held if task.done()] == held[-1:]
    assert held[-1].cancelled()
    assert not (tmp_path / f".{len(held) - 1}.wav.part").exists()


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


async def test_a_spool_that_is_cancelled_and_cancelled_again_leaves_nothing(tmp_path):
    async def spool(folder):
        async with Spool(folder) as spool:
            for item in range(8):
                await spool.write(item, 0, np.zeros((2, 4800), np.float32))

    for turns in range(60):
        writing = asyncio.create_task(spool(tmp_path / "song"))
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait((writing,))
        assert not (tmp_path / "song").exists(), turns


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
    app = new_app("files")

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


def tone(rate, channels, seconds=SECONDS):
    """float [frames, channels]; channel c has 0.5 / (c + 1) at 440 Hz."""
    wave = np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)
    return np.stack([0.5 * wave / (c + 1) for c in range(channels)], axis=1)


def samples_of(path):
    audio = np.concatenate(list(decode.decode(path)))
    assert audio.dtype == np.float32
    assert measure(path) == len(audio)
    return audio.T


SHAPES = [(48_000, 2), (44_100, 1), (22_050, 2), (96_000, 6), (8_000, 1)]
SOME = [(48_000, 2), (44_100, 1)]
UPLOADS = [  # container, subtype, how exact it is, shapes
    ("WAV", "PCM_16", 1e-4, SHAPES), ("WAV", "FLOAT", 1e-5, SHAPES), ("WAV", "DOUBLE", 1e-5, SOME),
    ("WAVEX", "PCM_24", 1e-5, SHAPES), ("RF64", "PCM_16", 1e-4, SOME), ("FLAC", "PCM_16", 1e-4, SHAPES),
    ("FLAC", "PCM_24", 1e-5, SOME), ("OGG", "VORBIS", 0.07, SHAPES[:3]), ("OGG", "OPUS", 0.07, [SHAPES[0], SHAPES[4]]),
    ("MP3", "MPEG_LAYER_III", 0.07, [SHAPES[i] for i in (0, 1, 2, 4)]),
]


@pytest.mark.parametrize(("container", "subtype", "tolerance", "rate", "channels"), [
    (container, subtype, tolerance, *shape) for container, subtype, tolerance, shapes in UPLOADS for shape in shapes
])
def test_uploads_of_any_shape_become_48_khz_stereo(tmp_path, container, subtype, tolerance, rate, channels):
    soundfile.write(tmp_path / "x", tone(rate, channels), rate, format=container, subtype=subtype)
    audio = samples_of(tmp_path / "x")
    assert audio.shape == (2, FRAMES)
    wanted = tone(48_000, 2 if channels > 1 else 1).T
    middle = slice(4800, -4800)
    assert np.abs(audio - wanted)[:, middle].max() <= tolerance
    assert np.array_equal(audio, samples_of(tmp_path / "x")), "the same every time"


def test_16_bit_at_48_khz_is_exact_and_louder_samples_are_clamped(tmp_path):
    wave = np.random.default_rng(1).integers(-32768, 32768, (70_000, 2), dtype=np.int16)
    soundfile.write(tmp_path / "x", wave, 48_000, format="FLAC")
    assert np.array_equal(samples_of(tmp_path / "x"), wave.T / np.float32(32768))
    soundfile.write(tmp_path / "y", wave / 16384.0, 48_000, format="WAV", subtype="FLOAT")
    assert np.array_equal(samples_of(tmp_path / "y"), np.clip(wave.T / np.float32(16384), -1, 1))


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
def test_blocks_join_without_a_seam(tmp_path, monkeypatch, container):
    soundfile.write(tmp_path / "x", tone(44_100, 2), 44_100, format=container)
    monkeypatch.setattr(decode, "_BLOCK", 1 << 20)  # the whole file
    whole = samples_of(tmp_path / "x")
    monkeypatch.setattr(decode, "_BLOCK", 2_000)
    assert np.abs(samples_of(tmp_path / "x") - whole).max() < 1e-6


def spoiled(value):
    wave = tone(48_000, 2)
    wave[-1, 1] = value
    return wave


ONLY = "it must be wav, flac, ogg, opus, mp3, m4a, aac, webm, mp4 or mov"


@pytest.mark.parametrize(("make", "detail"), [
    (lambda path: path.write_bytes(b"this is no music\n" * 1000), f"cannot be read; {ONLY}"),
    (lambda path: path.write_bytes(b"\xff\xfb" * 5000), f"cannot be read; {ONLY}"),
    (lambda path: path.write_bytes(b"RIFF\xff\xff\xff\xffWAVE"), f"cannot be read; {ONLY}"),
    (lambda path: soundfile.write(path, tone(48_000, 2), 48_000, format="AIFF"), f"is aiff; {ONLY}"),
    (lambda path: soundfile.write(path, tone(48_000, 2)[:0], 48_000, format="WAV"), "holds no audio"),
    (lambda path: soundfile.write(path, tone(1_000, 1), 1_000, format="WAV"),
     "has a sample rate of 1000; it must be 4000 to 384000"),
    (lambda path: soundfile.write(path, spoiled(np.nan), 48_000, format="WAV", subtype="FLOAT"),
     "holds samples that are no numbers"),
    (lambda path: soundfile.write(path, spoiled(np.inf), 44_100, format="WAV", subtype="DOUBLE"),
     "holds samples that are no numbers"),
    (lambda path: soundfile.write(path, np.zeros(4_000 * 601, np.int16), 4_000, format="FLAC"),
     "is longer than 600 seconds"),
])
def test_uploads_that_cannot_be_used(tmp_path, make, detail):
    make(tmp_path / "x")
    with pytest.raises(UnreadableAudio) as error:
        measure(tmp_path / "x")
    assert str(error.value) == detail


def test_a_broken_flac_is_refused_and_padding_after_ten_minutes_is_cut(tmp_path):
    noise = np.random.default_rng(2).integers(-9000, 9000, 100_000, dtype=np.int16)
    soundfile.write(tmp_path / "x", noise, 48_000, format="FLAC")
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:60_000])
    with pytest.raises(UnreadableAudio, match="cannot be read"):
        measure(tmp_path / "x")
    soundfile.write(tmp_path / "y", np.ones(4_000 * 600 + 300, np.int16), 4_000, format="FLAC")
    assert measure(tmp_path / "y") == 600 * 48_000


def test_a_file_that_changed_is_refused(tmp_path):
    soundfile.write(tmp_path / "x", tone(48_000, 2), 48_000, format="WAV")
    for samples in (FRAMES - 1, FRAMES + 1):
        with pytest.raises(UnreadableAudio, match="is not the file it was"):
            Sandbox().load(tmp_path / "x", samples)


def test_a_child_gives_the_same_samples(tmp_path):
    soundfile.write(tmp_path / "x", tone(44_100, 1, 2.0), 44_100, format="FLAC")
    decoder = Sandbox()
    samples = decoder.measure(tmp_path / "x")
    audio = decoder.load(tmp_path / "x", samples)
    assert (audio.shape, str(audio.dtype), audio.flags["C_CONTIGUOUS"]) == ((2, 96_000), "float32", True)
    assert np.array_equal(audio, samples_of(tmp_path / "x"))


def test_children_wait_for_the_next_files(tmp_path):
    soundfile.write(tmp_path / "x", tone(48_000, 2), 48_000, format="WAV")
    decoder = Sandbox()
    assert decoder.measure(tmp_path / "x") == FRAMES
    first = list(decoder._spares)
    assert [decoder.measure(tmp_path / "x") for _ in first] == [FRAMES, FRAMES]
    assert not set(first) & set(decoder._spares)
    for spare in decoder._spares:
        spare.kill()
        spare._process.wait()
    assert decoder.measure(tmp_path / "x") == FRAMES
    waiting = list(decoder._spares)
    decoder.close()
    assert all(spare._process.returncode for spare in waiting)


def test_a_child_ends_with_its_parent():
    child = Child(lambda child: False)
    assert child._process.stdin is not None
    child._process.stdin.close()
    assert child._process.wait(20) == 0
    child.end()


def with_a_bad_tag(data, frames=5_000):
    """`data` behind an ID3v2.4 tag with frames that libmpg123 complains about, each in a line of its own."""
    tag = (b"TXXX" + bytes((0, 0, 0, 1, 0, 0)) + b"\x03") * frames
    return b"ID3\x04\x00\x00" + bytes(len(tag) >> shift & 0x7F for shift in (21, 14, 7, 0)) + tag + data


def test_what_a_library_says_neither_blocks_nor_is_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "_WALL_SECONDS", 20.0)
    soundfile.write(tmp_path / "x", tone(48_000, 2), 48_000, format="MP3")
    (tmp_path / "y").write_bytes(with_a_bad_tag((tmp_path / "x").read_bytes()))
    decoder = Sandbox()
    samples = decoder.measure(tmp_path / "y")
    assert np.array_equal(decoder.load(tmp_path / "y", samples), samples_of(tmp_path / "x"))
    (tmp_path / "z").write_bytes(with_a_bad_tag((tmp_path / "x").read_bytes()[:1_000], frames=50))
    with pytest.raises(UnreadableAudio) as error:
        decoder.measure(tmp_path / "z")
    assert str(error.value) == f"cannot be read; {ONLY}"


def wav(claimed, present, seconds_of_bytes=8_000):
    """A WAV header of 8 kHz, 8 bit, mono that promises `claimed` bytes, and `present` bytes."""
    form = struct.pack("<HHIIHH", 1, 1, 8_000, seconds_of_bytes, 1, 8)
    return (b"RIFF" + struct.pack("<I", (claimed + 36) % 2**32) + b"WAVEfmt " + struct.pack("<I", 16) + form
            + b"data" + struct.pack("<I", claimed) + b"\x80" * present)


def rf64(claimed, present):
    """The same at 48 kHz, 16 bit, stereo, with a 64-bit size."""
    form = struct.pack("<HHIIHH", 1, 2, 48_000, 192_000, 4, 16)
    sizes = struct.pack("<IQQQI", 28, claimed + 72, claimed, claimed // 4, 0)
    return (b"RF64\xff\xff\xff\xffWAVEds64" + sizes + b"fmt " + struct.pack("<I", 16) + form
            + b"data\xff\xff\xff\xff" + b"\0" * present)


CUT = "is cut off: its header promises more audio than there is"


@pytest.mark.parametrize(("data", "detail"), [
    (wav(36_000 * 8_000, 8_000), "is longer than 600 seconds"), (wav(36_000 * 8_000, 0), "is longer than 600 seconds"),
    (rf64(36_000 * 192_000, 192_000), "is longer than 600 seconds"), (wav(80_000, 79_999), CUT),
    (rf64(1_920_000, 1_919_999), CUT), (rf64(2**63, 192_000), "is longer than 600 seconds"),
])
def test_a_wav_that_promises_more_than_it_holds_is_refused(tmp_path, data, detail):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UnreadableAudio) as error:
        measure(tmp_path / "x")
    assert str(error.value) == detail


@pytest.mark.parametrize("claimed", [16_000, 0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_that_was_written_as_a_stream_is_read_to_its_end(tmp_path, claimed):
    (tmp_path / "x").write_bytes(wav(claimed, 16_000))
    assert measure(tmp_path / "x") == 96_000


def test_a_flac_that_was_written_as_a_stream_is_read_to_its_end(tmp_path):
    soundfile.write(tmp_path / "x", tone(48_000, 2, 3.0), 48_000, format="FLAC")
    data = bytearray((tmp_path / "x").read_bytes())
    data[21] &= 0xF0  # STREAMINFO: 36 bits of a length that is not known
    data[22:26] = bytes(4)
    (tmp_path / "x").write_bytes(data)
    assert measure(tmp_path / "x") == 144_000
