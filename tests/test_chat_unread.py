"""What a chat client sends and nothing reads is named in the answer's `notes`; a history is no error."""

# mypy: allow-untyped-calls

import pytest

from frontend.chat.fields import read
from frontend.chat.messages import deciding_message
from frontend.chat.unread import unread
from tests.test_chat_stream import PATH, body, chunks

USER = {"role": "user", "content": "<prompt>x</prompt>"}
NAMED = "not used, because nothing here has such a name: "


def notes(messages=(USER,), **sent):
    return unread({"messages": list(messages), **sent}, read(sent), deciding_message(list(messages)))


@pytest.mark.parametrize(("sent", "names"), [
    ({"max_tokens": 5, "stop": ["x"], "user": "me", "presence_penalty": 0, "logprobs": False},
     "max_tokens, stop, user, presence_penalty, logprobs"),
    ({"tools": [{}], "response_format": {"type": "json_object"}, "tags": "pop"}, "tools, response_format, tags"),
    ({"audio": {"voice": "alloy"}}, "audio.voice"), ({"audio": {"voice": {"id": "v"}, "format": "wav"}}, "audio.voice"),
    ({"audio_config": {"tags": "pop", "bpm": 90, "n": 2}}, "audio_config.tags, audio_config.n"),
    ({"audioConfig": {"tags": "pop"}}, "audio_config.tags"),
    ({"audio_config": {"bpm": 90}, "audioConfig": {"bpm": 80}}, "audioConfig"),
    ({"format": "mp3"}, "format"), ({"stream": True, "stream_options": {"include_obfuscation": False}},
                                    "stream_options.include_obfuscation"),
    ({"a \n b" * 50: 1}, ("a b" * 50)[:80]), ({"\ud800": 1}, "?"),
    ({f"f{i}": 1 for i in range(25)}, ", ".join(f"f{i}" for i in range(20)) + " and 5 more"),
])
def test_names_that_nothing_has(sent, names):
    assert notes(**sent) == (NAMED + names,)


@pytest.mark.parametrize("sent", [
    {}, {"stop": None, "tools": [], "metadata": {}, "user": " "}, {"modalities": ["audio"]},
    {"modalities": ["text", "audio"]},
    {"audio": {"format": "mp3"}}, {"audio": {}}, {"audio_config": {"keyScale": "Am", "format": "wav"}}, {"topP": 0.5},
    {"stream": True, "stream_options": {"include_usage": True}}, {"lora_path": False, "retakeSeed": 5}, {"n": 2},
    {"extract_codes_only": False, "audio_config": {"analysisOnly": False}},
    {"audio": [], "audio_config": [], "stream_options": []},
])
def test_what_is_read_and_what_is_empty_is_not_named(sent):
    assert notes(**sent) == ()


@pytest.mark.parametrize(("sent", "line"), [
    ({"modalities": ["text"]}, "modalities was not used: every answer has text and audio"),
    ({"modalities": "audio"}, "modalities was not used: every answer has text and audio"),
    ({"stream_options": {"include_usage": True}}, "stream_options was not used: the answer is no stream"),
    ({"streamOptions": {"include_usage": False}}, "streamOptions was not used: the answer is no stream"),
])
def test_what_cannot_be_had(sent, line):
    assert notes(**sent) == (line,)


IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}
ALONE = "messages: the last one of a user was used, no other"
# What OpenAI's SDKs, LiteLLM, the AI SDK and OpenRouter's SDK send back of an answer.
ASSISTANT = [
    {"role": "assistant", "audio": {"id": "audio_1"}},
    {"role": "assistant", "content": None, "audio": {"id": "audio_1"}},
    {"role": "assistant", "content": "done", "refusal": None, "audio": {
        "id": "audio_1", "data": "UklG" * 50_000, "expires_at": 1, "transcript": "la"}, "function_call": None},
    {"role": "assistant", "content": [{"type": "text", "text": "la"}, {"type": "refusal", "refusal": "no"}]},
    {"role": "assistant", "content": "x", "audio": [{"type": "audio_url", "audio_url": {"url": "data:audio/wav,"}}],
     "audio_codes": "<|audio_code_5|>", "provider_specific_fields": {"refusal": None}, "tool_calls": None},
]


@pytest.mark.parametrize(("messages", "lines"), [
    ([USER, {"role": "user", "content": " "}, {"role": "assistant"}], ()),
    ([{"role": "system", "content": "be loud"}, USER], (ALONE,)), ([USER, ASSISTANT[0], USER], (ALONE,)),
    ([{"role": "user", "content": [IMAGE, {"type": "text", "text": "x"}, {"text": "y"}]}],
     ("messages: parts of another type than text and input_audio were not used: image_url, (none)",)),
])
def test_messages_and_parts_that_are_not_used(messages, lines):
    assert notes(messages) == lines


@pytest.mark.parametrize("message", ASSISTANT, ids=range(len(ASSISTANT)))
async def test_earlier_answers_are_no_error(chat_client, message):
    answer = await chat_client.post(PATH, json={"messages": [USER, message, USER], "audio_format": "wav"})
    assert answer.status_code == 200, answer.text[:300]
    assert answer.json()["notes"] == [ALONE]


async def test_notes_are_the_last_key_of_an_answer_and_of_a_stream(chat_client):
    sent = body("x", max_tokens=5, guidance_scale=3, tags="\u2028pop")
    lines = ["guidance_scale was not used: tiny-turbo is a turbo model, without guidance", f"{NAMED}max_tokens, tags"]
    made = (await chat_client.post(PATH, json=sent)).json()
    assert (list(made)[-2:], made["notes"]) == (["usage", "notes"], lines)
    for options in ({}, {"stream_options": {"include_usage": True}}, {"audio": {"format": "wav"}}, {"n": 2}):
        *heard, last = [chunk for _, chunk in await chunks(chat_client, sent | options)]
        assert (list(last)[-1], last["notes"]) == ("notes", lines)
        assert not any("notes" in chunk for chunk in heard)


async def test_without_notes_there_is_no_such_key(chat_client):
    assert list((await chat_client.post(PATH, json=body("x"))).json())[-1] == "usage"
    assert not any("notes" in chunk for _, chunk in await chunks(chat_client, body("x")))
