"""What the server accepts meets its published schemas: every walked value, in every place and body, and the docs'."""

# mypy: allow-untyped-calls

import json
import re
from functools import cache

import jsonschema
import pytest

from frontend.chat.fields import NATIVE_NAMES
from frontend.chat.fields import TABLE as CHAT
from frontend.fields import camel
from frontend.native.fields import TABLE
from frontend.native.task_fields import TASK_TABLE
from frontend.openapi import chat, native
from tests.test_contract_walk import FIELDS, WITH_AN_LM, as_text, places
from tests.test_examples import TEXTS, commands

GENERATE, RELEASE, COMPLETE = "/v1/music/generate", "/release_task", "/v1/chat/completions"
KINDS = {"json": "application/json", "form": "application/x-www-form-urlencoded", "multipart": "multipart/form-data"}
MESSAGES = [{"role": "user", "content": "<prompt>x</prompt>"}]


@cache
def schema(path, kind="json"):
    """The validator of a route's bodies."""
    described = (chat.describe() if "chat" in path else native.describe(with_list=True))
    content = described["paths"][path]["post"]["requestBody"]["content"][KINDS[kind]]["schema"]
    return jsonschema.Draft202012Validator({**content, "components": described["components"]})


def meets(path, body, kind="json"):
    """Passes if the schema takes the body; a form's values are texts, but for a name that is sent again."""
    if kind != "json":
        body = {name: as_text(value) for name, value in body.items()}
    error = jsonschema.exceptions.best_match(schema(path, kind).iter_errors(json.loads(json.dumps(body))))
    assert error is None, (path, kind, body, error.message if error else "")


def refuses(path, body):
    return not schema(path).is_valid(body)


def good(name):
    """Every value of a field that the contract walk has accepted."""
    walks = [walk for walk in (FIELDS.get(name), WITH_AN_LM.get(name)) if walk is not None]
    return [(value, walk.needs) for walk in walks for value, _ in walk.good]


@pytest.mark.parametrize("path", [GENERATE, RELEASE])
def test_every_walked_value_in_every_place_and_kind_of_body(path):
    count = 0
    for entry in TABLE if path == GENERATE else TASK_TABLE:
        for name in entry.names:
            for value, needs in good(entry.name):
                for kind in KINDS:
                    for body in places(entry, name, kind, value, needs):
                        meets(path, body, kind)
                        count += 1
    assert count > 2_000


def test_every_walked_value_of_a_chat():
    count = 0
    for entry in CHAT:
        for value, _ in good(NATIVE_NAMES.get(entry.name, entry.name)):
            for name in (name for name in entry.names if name != "format"):
                meets(COMPLETE, {"messages": MESSAGES, name: value})
                count += 1
            if entry.nested:
                meets(COMPLETE, {"messages": MESSAGES, "audio_config": {entry.name: value}})
    assert count > 200


@pytest.mark.parametrize(("path", "table"), [(GENERATE, TABLE), (RELEASE, TASK_TABLE), (COMPLETE, CHAT)])
def test_null_and_blank_text_for_every_field(path, table):
    for entry in table:
        for value in (None, "", " ", "\n"):
            for name in (entry.name, camel(entry.name)):
                meets(path, {"messages": MESSAGES, name: value})
        for kind in () if path == COMPLETE else ("form", "multipart"):
            meets(path, {entry.name: " "}, kind)


@pytest.mark.parametrize(("name", "values"), [
    ("seed", ["7", " 7 ", "[7, 8]", 7.0, "7, 8", ["7", 8], []]),
    ("timesteps", [0.7, "[0.9, 0.5]", ["0.9", 0.5], "0.7"]),
    ("track_classes", ["drums", ["Backing Vocals", "FX "], '["drums"]']), ("bpm", ["120", "1.2e2", 120.0]),
    ("time_signature", [4, "4", " 6/8", 3.0]), ("task_type", ["TEXT2MUSIC", " text2music "]),
    ("thinking", [0, "no", 0.0, "anything"]), ("caption", [5, 5.5]), ("audio_code_string", [["<|audio_code_1|>"]]),
    ("metas", [{"bpm": "90"}, '{"bpm": 90}', None, ""]), ("unknown", [{}, [1]]), ("keyScale", ["c MAJOR", "Am "]),
])
def test_other_spellings_that_readers_know(name, values):
    for value in values:
        meets(GENERATE, {"caption": "x", name: value})


@pytest.mark.parametrize(("path", "body"), [
    ("/query_result", {"task_id_list": ["a"]}), ("/query_result", {"taskIdList": '["a"]'}),
    ("/query_result", {"task_id_list": None, "taskIdList": []}), ("/format_input", {"prompt": "x", "param_obj": {}}),
    ("/format_input", {"prompt": "x", "param_obj": '{"bpm": 90}', "temperature": "0.5"}),
    ("/format_input", {"lyrics": None, "param_obj": None}), ("/v1/music/random", {"thinking": "no"}),
    ("/v1/music/random", {"Thinking": 0}), ("/v1/music/random", {"thinking": None}),
    (COMPLETE, {"messages": [{"content": ["a", {"text": "b", "type": "text"}, {"type": "image_url"}]}]}),
    (COMPLETE, {"messages": [{"role": "system", "content": None}, *MESSAGES], "audio_config": ""}),
    (COMPLETE, {"messages": [{"content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}]}),
])
def test_bodies_of_the_other_routes(path, body):
    meets(path, body)


@pytest.mark.parametrize(("path", "name", "values"), [
    (GENERATE, "bpm", [29, 301, 90.5, [90], {}]), (GENERATE, "audio_format", ["../x", "nothing", 5, "mp3 x"]),
    (GENERATE, "caption", ["x" * 2001, ["x"]]), (GENERATE, "seed", [-2, [[1]]]), (GENERATE, "batch_size", [0, 9]),
    (GENERATE, "thinking", [[1]]), (COMPLETE, "messages", ["x", {}, [1]]), (COMPLETE, "temperature", [-0.1, 2.1]),
    ("/query_result", "task_ids", [["a"]]), ("/query_result", "task_id_list", [[1], 5]),
])
def test_schemas_still_say_what_is_wrong(path, name, values):
    body = {"messages": MESSAGES} if path == COMPLETE else {}
    assert all(refuses(path, body | {name: value}) for value in values)


def test_the_examples_of_the_docs():
    count = 0
    for command in (command for text in TEXTS.values() for command in commands(text)):
        data = re.search(r"-d '(\{.*\})'", command, re.DOTALL)
        path = re.search(r"127\.0\.0\.1:800[12](/\S+)", command)
        if data and path:
            meets(path[1], json.loads(data[1]))
            count += 1
    assert count >= 5
