"""OpenAI's own dialect: with `audio.format` a message's audio is one object, in a stream the pieces of one."""

# mypy: allow-untyped-calls

import base64
import io
import time

import pytest
import soundfile

from frontend.audio.formats import SONG_FORMATS
from frontend.chat.fields import read
from frontend.chat.files import SongFile
from frontend.chat.form import read_form
from frontend.chat.openai import pieces
from frontend.chat.reply import NOT_WRITTEN
from frontend.errors import RequestError
from tests.test_chat_stream import PATH, body, chunks

WAV = {"audio": {"format": "wav"}}
FORMATS = ", ".join(SONG_FORMATS)


def seconds(data):
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data, validate=True)))
    return len(samples) / rate


async def test_the_whole_answer(chat_client):
    sent = body("soft piano", lyrics="[Verse]\nla", **WAV)
    made = (await chat_client.post(PATH, json=sent)).json()
    assert list(made) == ["id", "object", "created", "model", "choices", "usage", "system_fingerprint"]
    [choice] = made["choices"]
    audio = choice["message"].pop("audio")
    assert choice == {
        "index": 0, "message": {"role": "assistant", "content": NOT_WRITTEN, "refusal": None}, "logprobs": None,
        "finish_reason": "stop"}
    assert list(audio) == ["id", "data", "expires_at", "transcript"]
    assert audio["id"].startswith("audio_")
    assert audio["transcript"] == "[Verse]\nla"
    assert audio["expires_at"] <= time.time() + 1, "the file is gone with the answer"
    assert seconds(audio["data"]) == 0.1


async def test_an_instrumental_has_no_transcript(chat_client):
    made = (await chat_client.post(PATH, json=body("soft piano", lyrics="[inst]", **WAV))).json()
    assert made["choices"][0]["message"]["audio"]["transcript"] == ""


async def test_the_pieces_of_a_stream(chat_client):
    heard = [chunk for _, chunk in await chunks(chat_client, body("plan:x meta", lyrics="la la", **WAV))]
    assert {tuple(chunk) for chunk in heard} == {("id", "object", "created", "model", "choices")}
    told = [chunk["choices"][0]["delta"] for chunk in heard]
    assert told[0] == {"role": "assistant", "content": ""}
    assert told[1]["content"].startswith("\n\n## Metadata\n")
    audio = [delta["audio"] for delta in told if "audio" in delta]
    data = [piece["data"] for piece in audio[2:-1]]
    assert [list(piece) for piece in audio] == [["id"], ["transcript"], *[["data"]] * len(data), ["expires_at"]]
    assert audio[1] == {"transcript": "la la"}
    assert not any(len(piece) % 4 for piece in data)
    assert seconds("".join(data)) == 0.1
    assert (told[-1], heard[-1]["choices"][0]["finish_reason"]) == ({}, "stop")


async def test_a_long_song_comes_in_many_pieces():
    raw = bytes(range(256)) * 1000
    file = SongFile(io.BytesIO(raw), "wav", len(raw))
    told = [piece["data"] async for piece in pieces(file, {"metadata": {}}) if "data" in piece]
    assert len(told) > 5
    assert b"".join(base64.b64decode(piece, validate=True) for piece in told) == raw
    assert base64.b64decode("".join(told), validate=True) == raw


async def test_signs_of_life_are_no_text(chat_client, monkeypatch):
    monkeypatch.setattr("frontend.chat.song.BEAT_SECONDS", 0.05)
    told = [chunk["choices"][0]["delta"] for _, chunk in await chunks(chat_client, body("wait:0.4", **WAV))]
    assert told.count({}) >= 3, "signs of life and the end"
    assert "".join(delta.get("content", "") for delta in told) == ""


@pytest.mark.parametrize("path", [PATH, f"/api{PATH}"])
async def test_an_error_is_told_as_openai_and_openrouter_do(chat_client, path, monkeypatch):
    monkeypatch.setattr("tests.test_chat_stream.PATH", path)
    heard = [chunk for _, chunk in await chunks(chat_client, body("fail:400", n=2, **WAV))]
    error = {"message": "caption: told to fail", "type": "invalid_request_error", "code": 400}
    end = [chunk for chunk in heard if "error" in chunk]
    assert [chunk["error"] for chunk in end] == [error] * (1 if path.startswith("/api") else 2)
    assert end[0]["choices"] == [{"index": index, "delta": {}, "finish_reason": "error"} for index in (0, 1)]
    assert end[0]["object"] == "chat.completion.chunk"
    assert end[1:] in ([], [{"error": error}])
    assert not any("Error" in str(chunk["choices"]) for chunk in heard if "choices" in chunk)


@pytest.mark.parametrize("sent", [
    {"modalities": ["text", "audio"]}, {"audio": {"voice": "alloy"}}, {"audio": {"format": None}}, {"audio": None},
    {"audio": {"format": " "}}, {"audio": {}}, {"audio": ""}, {"audio_config": {"format": "wav"}},
])
def test_only_a_format_in_audio_asks_for_it(sent):
    assert not read_form(sent, read(sent)).is_openai


@pytest.mark.parametrize("sent", [
    {"audio": {"format": "FLAC"}}, {"audio": {"format": "flac", "voice": {"id": "x"}}, "audio_config": {}},
    {"audio": {"format": "flac"}, "audio_config": {"format": "flac"}},
    {"audio": {"format": "flac"}, "audio_config": {"format": ""}}, {"audio": {"format": "flac"}, "audio_format": None},
])
def test_its_format_is_that_of_the_file(sent):
    fields = read(sent)
    assert (fields["audio_format"], read_form(sent, fields).is_openai) == ("flac", True)


@pytest.mark.parametrize(("sent", "line"), [
    ({"audio": {"format": "pcm16"}}, f"audio.format: must be one of {FORMATS}"),
    ({"audio": {"format": 5}}, f"audio.format: must be one of {FORMATS}"),
    ({"audio": "mp3"}, "audio: must be an object"), ({"audio": ["mp3"]}, "audio: must be an object"),
    ({"audio": {"format": "wav"}, "audio_config": {"format": "mp3"}},
     "audio.format: must be that of audio_config.format, or the only one"),
    ({"audio": {"format": "wav"}, "audio_format": "flac"},
     "audio.format: must be that of audio_format, or the only one"),
    ({"audio": {"format": "wav"}, "batch_size": 2},
     "batch_size: must be 1 with audio.format: a choice has one song then; n makes several"),
    ({"audio": {"format": "wav"}, "audio_config": {"batchSize": 2}},
     "audio_config.batchSize: must be 1 with audio.format: a choice has one song then; n makes several"),
])
def test_what_does_not_go_together_is_a_line_that_says_so(sent, line):
    with pytest.raises(RequestError) as error:
        read_form(sent, read(sent))
    assert (error.value.status, error.value.detail) == (400, line)
