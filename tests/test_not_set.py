"""Words and numbers that mean "not set" are that, for every metadata field in every place of every API; no Triton."""

# mypy: allow-untyped-calls

import json

import pytest

from frontend.chat.fields import TABLE as CHAT
from frontend.chat.fields import read as read_chat
from frontend.native.body import parse_body
from frontend.native.fields import TABLE, read
from frontend.native.task_fields import TASK_TABLE, read_task
from tests.test_field_usage import chat_notes, notes
from tests.test_native_fields import BOTH, TEN, WITH_LM, refusal, song

METADATA = ("bpm", "key_scale", "time_signature", "audio_duration", "duration", "vocal_language")
NOTHING = [
    None, "", " \n", "N/A", "n/a", " N/a ", "none", "None", "null", "NULL", "auto", " Auto", "-1", -1, -1.0, "-1.0", 0,
    "0", 0.0, "0.0",
]
UNKNOWN = ["unknown", "Unknown ", "UNKNOWN"]  # of a language it is a value
VALUES = {"bpm": 90, "key_scale": "C major", "time_signature": "3", "audio_duration": 20.0, "duration": 20.0}


def names(table):
    """(canonical name, any name) of the metadata's fields."""
    return [(entry.name, name) for entry in table if entry.name in METADATA for name in entry.names]


def words(field):
    return NOTHING + ([] if field == "vocal_language" else UNKNOWN)


def same(reader, body):
    made, plain = reader(body), reader({})
    assert (made.values, made.sent, made.notes) == (plain.values, plain.sent, plain.notes), body


@pytest.mark.parametrize(("field", "name"), names(TABLE))
def test_in_a_native_request(field, name):
    for word in words(field):
        for body in ({name: word}, {"metas": {name: word}}, {"userMetadata": json.dumps({name: word})}):
            same(read, body)
        if isinstance(word, str):
            same(read, parse_body("application/x-www-form-urlencoded", f"{name}={word}".encode()))


@pytest.mark.parametrize(("field", "name"), names(TASK_TABLE))
def test_in_a_task(field, name):
    for word in words(field):
        for body in ({name: word}, {"param_obj": json.dumps({name: word})}, {"paramObj": {name: word}},
                     {"metadata": {name: word}}):
            same(read_task, body)


@pytest.mark.parametrize(("field", "name"), names(CHAT))
def test_in_a_chat_request(field, name):
    for word in words(field):
        for body in ({name: word}, {"audio_config": {name: word}}, {"audioConfig": {name: word}}):
            same(read_chat, body)


def test_all_fields_are_tried():
    assert {field for field, _ in names(TABLE)} == set(METADATA) - {"duration"}
    assert {field for field, _ in names(CHAT)} == set(METADATA) - {"audio_duration"}


@pytest.mark.parametrize("word", UNKNOWN)
def test_a_language_may_be_unknown(word):
    assert song(vocal_language=word)["vocal_language"] == "unknown"


def test_auto_is_the_lms_choice():
    assert song(WITH_LM, vocal_language="auto")["vocal_language"] is None
    assert song(WITH_LM, sample_query="a Japanese song", vocal_language="N/A")["vocal_language"] == "ja"


def test_every_negative_length_is_the_servers_choice():
    for seconds in (-0.5, "-30", -600):
        assert song(audio_duration=seconds)["duration"] is None


def test_what_is_not_set_still_comes_before_another_name():
    """As empty text does: the first name that is not null counts. What stands there is named."""
    assert song(bpm="N/A", metas={"bpm": 90})["bpm"] is None
    assert notes(bpm="N/A", metas={"bpm": 90}) == ("metas.bpm was not used: bpm wins",)
    assert song(bpm=None, metas={"bpm": 90})["bpm"] == 90


def test_nothing_is_said_of_what_is_not_set():
    unset = dict.fromkeys(METADATA, "N/A")
    assert notes(**unset) == notes(uploads=TEN, task_type="cover", **unset) == ()
    assert chat_notes(audio_config=unset, catalogue=BOTH) == ()


@pytest.mark.parametrize(("name", "value"), [
    ("bpm", "nothing"), ("bpm", -2), ("bpm", False), ("bpm", "1"), ("key_scale", "no"), ("key_scale", 5),
    ("time_signature", "-2"), ("time_signature", 1), ("audio_duration", "n.a."), ("vocal_language", "-2"),
    ("bpm", "unset"), ("bpm", [None]), ("key_scale", {"a": 1}), ("audio_duration", True),
])
def test_other_words_are_refused(name, value):
    assert refusal(**{name: value}).startswith(f"{name}: must be ")


@pytest.mark.parametrize("name", ["caption", "lyrics", "instruction"])
def test_a_text_is_not_metadata(name):
    assert song(**{"caption": "x", name: "None"})[name] == "None"
