"""Bodies of chat requests: JSON in pieces of any size, whose audio goes to disk."""

# mypy: allow-untyped-calls

import base64
import hashlib
import io
import json
import random

import numpy as np
import pytest
import soundfile

from frontend.chat.body import name_audio, read_body
from frontend.errors import RequestError
from frontend.uploads import Uploads

LIMIT = 1 << 20


@pytest.fixture
def uploads(tmp_path):
    folder = Uploads(tmp_path / "uploads")
    folder.open()
    yield folder
    folder.close()
    assert list((tmp_path / "uploads").iterdir()) == [], "every file goes with its request"


async def pieces(data, size):
    for at in range(0, len(data), size):
        yield data[at : at + size]


def sound(seconds, seed=0):
    file = io.BytesIO()
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (round(48_000 * seconds), 2))
    soundfile.write(file, noise, 48_000, format="FLAC")
    return file.getvalue()


def text64(data):
    return base64.b64encode(data).decode()


def digest(data):
    return hashlib.sha256(data).hexdigest()


async def received(uploads, audio, task, body_of=json.dumps, size=65_536):
    """SHA-256 of the files, by field, that the audio parts of a body become."""
    body = body_of({"messages": ["x", *audio], "n": 1}).encode()
    async with uploads.intake() as intake:
        read = await read_body(pieces(body, size), LIMIT, intake)
        assert read.values["n"] == 1
        await name_audio(read.values["messages"][1:], task, read, intake)
        return await intake.digests()


async def refusal(uploads, body, audio=(), task="cover", limit=LIMIT):
    async def ask():
        async with uploads.intake() as intake:
            read = await read_body(pieces(body, 65_536), limit, intake)
            await name_audio(audio or read.values.get("audio", ()), task, read, intake)

    with pytest.raises(RequestError) as error:
        await ask()
    return error.value.status, error.value.detail


@pytest.mark.parametrize("value", [
    {}, {"a": "b"},
    {"a": "quote \" backslash \\ slash / \n \u2028 é 🎵", "b": ["\\", "\\\\\"", ""], "c": {"\"": "\\u0041"}},
])
async def test_short_texts_stay_as_they_are_however_the_body_is_cut(uploads, value):
    for body in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=2)):
        for size in range(1, 20):
            async with uploads.intake() as intake:
                read = await read_body(pieces(body.encode(), size), LIMIT, intake)
                assert (read.values, read.long) == (value, {})


def slashed(value):
    return json.dumps(value).replace("/", "\\/")


def dotnet(value):
    return json.dumps(value).replace("+", "\\u002B")


@pytest.mark.parametrize(("size", "body_of"), [
    (7, slashed), (4093, json.dumps), (4093, dotnet), (65_536, slashed), (1 << 22, json.dumps), (1 << 22, dotnet)])
async def test_audio_arrives_bit_by_bit(uploads, body_of, size):
    song = sound(2)
    assert len(song) > 1 << 17
    assert await received(uploads, [text64(song)], "cover", body_of, size) == {"src_audio": digest(song)}


async def test_what_arrived_is_audio(uploads):
    song = sound(2)
    async with uploads.intake() as intake:
        read = await read_body(pieces(json.dumps({"audio": [text64(song)]}).encode(), 65_536), LIMIT, intake)
        await name_audio(read.values["audio"], "cover", read, intake)
        (upload,) = (await intake.measure()).values()
        audio = await uploads.load(upload)
    expected, _ = soundfile.read(io.BytesIO(song), dtype="float32")
    assert upload.samples == 96_000
    assert np.array_equal(audio.T, expected)


@pytest.mark.parametrize("form", [
    lambda text: f"data:audio/flac;base64,{text}", lambda text: text.rstrip("="),
    lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))])
@pytest.mark.parametrize("seconds", [0.2, 2])
async def test_forms_of_base64_in_short_and_long_texts(uploads, form, seconds):
    song = sound(seconds)
    assert await received(uploads, [form(text64(song))], "cover") == {"src_audio": digest(song)}


async def test_the_task_says_what_the_audio_is(uploads):
    short, long = sound(0.5), sound(2)
    for audio in ([short, long], [long, short]):
        files = await received(uploads, list(map(text64, audio)), "repaint")
        assert files == {"src_audio": digest(audio[0]), "reference_audio": digest(audio[1])}
    assert await received(uploads, [text64(long)], "text2music") == {"reference_audio": digest(long)}


async def test_audio_of_the_history_goes_unused(uploads):
    old, new = text64(sound(2)), text64(sound(2, 1))
    body = json.dumps({"history": [old, "a" * 300_001], "audio": [new]}).encode()
    async with uploads.intake() as intake:
        read = await read_body(pieces(body, 65_536), LIMIT, intake)
        await name_audio(read.values["audio"], "cover", read, intake)
        assert list(await intake.measure()) == ["src_audio"]


NOT_BASE64 = (400, "messages: input_audio.data must be base64 text")


@pytest.mark.parametrize("data", [
    "no base64!", "AAAAA", 5, None, {}, {"0" * 32: None}, ["AAAA"], "é" * 8, "é" * 200_000, "A" * 200_001,
    "\\" * 200_000, "AA==" * 50_000 + "A"])
async def test_what_is_no_base64_is_refused(uploads, data):
    assert await refusal(uploads, json.dumps({"audio": [data]}).encode()) == NOT_BASE64


@pytest.mark.parametrize(("task", "count", "line"), [
    ("cover", 3, "messages: at most 2 input_audio for cover"),
    ("text2music", 2, "messages: at most 1 input_audio for text2music")])
async def test_more_audio_than_a_task_takes(uploads, task, count, line):
    assert await refusal(uploads, b"{}", ["AAAA"] * count, task) == (400, line)


async def test_bodies_that_are_too_large_or_no_json(uploads):
    too_large = (413, f"Request body too large: at most {LIMIT} bytes besides its audio")
    assert await refusal(uploads, b" " * (LIMIT + 1)) == too_large
    assert await refusal(uploads, json.dumps({"a": ["x" * 1000] * 1100}).encode()) == too_large
    many = json.dumps({"a": ["A" * 140_000] * 33}).encode()
    assert await refusal(uploads, many) == (413, "Request body too large: at most 32 texts with audio")
    assert await refusal(uploads, b"[]") == (400, "JSON payload must be an object")
    for body in (b"", b"{", b'{"a": "', b'{"a": "' + b"A" * 200_000, b'{"' + b"A" * 200_000 + b'": 1}'):
        status, line = await refusal(uploads, body)
        assert (status, line.split(":")[0]) == (400, "Invalid JSON")


async def test_long_texts_that_are_no_audio_are_no_texts(uploads):
    async with uploads.intake() as intake:
        read = await read_body(pieces(json.dumps({"lyrics": "la " * 100_000}).encode(), 4096), LIMIT, intake)
    assert isinstance(read.values["lyrics"], dict)


async def test_any_json_survives_any_cuts(uploads):
    """Round trip of random values, whose texts are full of what matters to JSON."""
    chance = random.Random(1)
    for _ in range(200):
        texts = ["".join(chance.choices('"\\/ bu0041é🎵{}[]:,\n', k=chance.randrange(12))) for _ in range(6)]
        value = {text: [texts[chance.randrange(6)], {texts[0]: chance.random()}] for text in texts}
        async with uploads.intake() as intake:
            read = await read_body(pieces(json.dumps(value).encode(), chance.randrange(1, 9)), LIMIT, intake)
            assert read.values == value


async def test_a_source_under_a_tenth_of_a_second_is_refused(uploads):
    body = json.dumps({"messages": [text64(sound(0.09))]}).encode()
    async with uploads.intake() as intake:
        read = await read_body(pieces(body, 65_536), LIMIT, intake)
        await name_audio(read.values["messages"], "cover", read, intake)
        with pytest.raises(RequestError, match=r"^src_audio: is shorter than 0\.1 seconds$"):
            await intake.measure()
