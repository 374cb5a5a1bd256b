"""`stream_options.include_usage` adds OpenAI's last chunk to a stream, which without it is what it was."""

# mypy: allow-untyped-calls

import pytest

from frontend.chat.fields import read
from frontend.chat.form import read_form
from frontend.errors import RequestError
from tests.test_chat_stream import PATH, body, chunks

ASKED = {"stream_options": {"include_usage": True}}


@pytest.mark.parametrize("form", [{}, {"n": 2}, {"audio": {"format": "wav"}}])
async def test_the_last_chunk_counts_what_a_whole_answer_counts(chat_client, form):
    sent = body("three short words", **form)
    *heard, last = [chunk for _, chunk in await chunks(chat_client, sent | ASKED)]
    made = (await chat_client.post(PATH, json=sent)).json()
    assert last["usage"] == made["usage"] == {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}
    assert last["choices"] == []
    assert {last[key] == heard[0][key] for key in ("id", "object", "created", "model")} == {True}
    assert {chunk["usage"] for chunk in heard} == {None}
    assert heard[-1]["choices"][0]["finish_reason"] == "stop"


async def test_openrouters_other_chunks_have_no_null(chat_client, monkeypatch):
    """Its SDK refuses one, and OpenRouter sends none."""
    monkeypatch.setattr("tests.test_chat_stream.PATH", f"/api{PATH}")
    *heard, last = [chunk for _, chunk in await chunks(chat_client, body("x") | ASKED)]
    assert not any("usage" in chunk for chunk in heard)
    assert last["usage"]["total_tokens"] == 1


@pytest.mark.parametrize("sent", [{}, {"stream_options": None}, {"stream_options": {}},
                                  {"stream_options": {"include_usage": False}}])
async def test_without_it_a_stream_has_no_usage(chat_client, sent):
    heard = [chunk for _, chunk in await chunks(chat_client, body("x") | sent)]
    assert {tuple(chunk) for chunk in heard} == {("id", "object", "created", "model", "choices")}
    assert len(heard) == 3


async def test_an_error_comes_without_a_count(chat_client):
    heard = [chunk for _, chunk in await chunks(chat_client, body("fail:400") | ASKED)]
    assert {chunk["usage"] for chunk in heard} == {None}


@pytest.mark.parametrize(("sent", "line"), [
    ({"stream_options": "usage"}, "stream_options: must be an object"),
    ({"stream_options": {"include_usage": []}}, None), ({"streamOptions": {"includeUsage": True}}, None),
    ({"stream_options": {"include_usage": [1]}}, "stream_options.include_usage: must be true or false"),
])
def test_how_it_is_read(sent, line):
    if line is None:
        assert read_form(sent, read(sent)).counts_usage is ("streamOptions" in sent)
        return
    with pytest.raises(RequestError) as error:
        read_form(sent, read(sent))
    assert error.value.detail == line
