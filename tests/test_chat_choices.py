"""`n` choices with a song each, `batch_size` songs in one choice: one job with one batch is behind either."""

# mypy: allow-untyped-calls

import pytest

from frontend.chat.fields import read
from frontend.chat.form import read_form
from frontend.chat.routes import create_app
from frontend.errors import RequestError
from tests.serving import served
from tests.test_chat_fields import refusal, song
from tests.test_chat_stream import PATH, body, chunks, songs

CODES = "<|audio_code_5|>" * 50


@pytest.fixture(scope="module")
async def services(scripted, tmp_path_factory):
    async with scripted.frontend(tmp_path_factory.mktemp("state")) as running:
        yield running


@pytest.fixture(scope="module")
async def client(services):
    async with served(create_app(services)) as running:
        yield running


def test_seeds_are_those_of_a_batch():
    for sent, seeds in (
        ({"seed": 5}, [5, 6, 7]), ({"seed": "1,2,3"}, [1, 2, 3]), ({"seed": "1,2"}, [1, 2, 7]), ({}, [7] * 3),
    ):
        assert song(n=3, **sent)["seeds"] == song(batch_size=3, **sent)["seeds"] == seeds
    assert song(n="2", batch_size=1)["seeds"] == [7, 7]
    assert song(n=1)["seeds"] == song(n=None)["seeds"] == [7]


@pytest.mark.parametrize(("sent", "line"), [
    ({"n": 0}, "n: must be between 1 and 8"), ({"n": 9}, "n: must be between 1 and 8"),
    ({"n": "many"}, "n: must be a whole number"), ({"n": 1.5}, "n: must be a whole number"),
    ({"batch_size": 9}, "batch_size: must be between 1 and 8"),
])
def test_the_range(sent, line):
    assert refusal(**sent) == line


@pytest.mark.parametrize("name", ["batch_size", "batchSize", "audio_config.batch_size"])
def test_both_above_one_are_refused_by_both_names(name):
    sent = {"n": 2, "audio_config": {"batch_size": 2}} if "." in name else {"n": 2, name: 2}
    with pytest.raises(RequestError) as error:
        read_form(sent, read(sent))
    assert (error.value.status, error.value.detail) == (
        400, f"n: must be 1 beside {name} above 1: n counts choices, {name} the songs of one")
    assert read_form({}, read({"n": 8})).choices == 8


async def test_every_choice_has_its_own_song(client, services):
    codes = [CODES, CODES[:-16], CODES[:-32]]
    sent = body("x", n=3, seed=7, thinking=True, audio_format="wav", audio_code_string=codes)
    made = (await client.post(PATH, json=sent)).json()
    assert [choice["index"] for choice in made["choices"]] == [0, 1, 2]
    for choice in made["choices"]:
        assert list(choice) == ["index", "message", "finish_reason"]
        assert choice["finish_reason"] == "stop"
        assert songs(choice["message"]) == [0.1]
    assert [choice["message"]["audio_codes"] for choice in made["choices"]] == codes
    [job] = await services.store.list(1)
    assert job.work.song["seeds"] == [7, 8, 9]


@pytest.mark.parametrize("dialect", [{"audio_format": "wav"}, {"audio": {"format": "wav"}}])
async def test_every_choice_is_streamed_under_its_index(client, dialect):
    heard = [chunk["choices"] for _, chunk in await chunks(client, body("plan:x meta", n=2, **dialect))]
    assert {len(choices) for choices in heard} == {1}
    for index in (0, 1):
        own = [choice for [choice] in heard if choice["index"] == index]
        told = [choice["delta"] for choice in own]
        assert told[0] == {"role": "assistant", "content": ""}
        assert sum("## Metadata" in delta.get("content", "") for delta in told) == 1
        assert any("audio" in delta for delta in told)
        assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == ["stop"]
        assert own[-1]["finish_reason"] == "stop"


async def test_an_error_ends_every_choice(client):
    heard = [chunk["choices"] for _, chunk in await chunks(client, body("fail:400", n=2))]
    for index in (0, 1):
        own = [choice for [choice] in heard if choice["index"] == index]
        assert own[-2]["delta"] == {"content": "\n\nError: caption: told to fail"}
        assert (own[-1]["delta"], own[-1]["finish_reason"]) == ({}, "error")


async def test_a_batch_is_still_one_choice(client):
    [choice] = (await client.post(PATH, json=body("x", batch_size=2, n=1, audio_format="wav"))).json()["choices"]
    assert songs(choice["message"]) == [0.1, 0.1]
