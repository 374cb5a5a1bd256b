"""Fields that are not built: a value that would change the song is a 400 in every API, a neutral one passes."""

# mypy: allow-untyped-calls

import json

import pytest

from frontend.chat.fields import read as read_chat
from frontend.errors import RequestError
from frontend.fields import camel
from frontend.native.fields import TABLE as NATIVE
from frontend.native.fields import read
from frontend.native.routes import create_app
from frontend.native.submission import submission
from frontend.native.task_fields import read_task
from frontend.unbuilt import TABLE
from tests.serving import served
from tests.test_native_fields import BOTH

NUMBERS = {"retake_variance": "0", "fade_in_duration": "0", "fade_out_duration": "0", "normalization_db": "-1"}
FLAGS = {"flow_edit_morph": "false", "enable_normalization": "true"}
DETAILS = ("retake_seed", "lora_scale", *(f"flow_edit_{name}" for name in (
    "source_caption", "source_lyrics", "n_min", "n_max", "n_avg")))
ABSENT = dict.fromkeys(("source_repaint_latents", "lora_path"), "null")


def neutral(name):
    if name in NUMBERS:
        number = float(NUMBERS[name])
        return [number, int(number), str(number), f" {NUMBERS[name]} ", None, ""]
    if name in FLAGS:
        return [True, "yes", 1, None, ""] if FLAGS[name] == "true" else [False, "no", "0", 0, None, ""]
    return [None, "", " ", [], False, {}]


def changing(name):
    if name in NUMBERS:
        return [0.5, "2", -3, "loud", [1], True, 10**400]
    if name in FLAGS:
        return [False, "0", [1]] if FLAGS[name] == "true" else [True, "yes", 1, [1]]
    return ["a", 0, [1], {"a": 1}]


def bodies(name, value):
    """Every place of every API, with what errors call the field there."""
    for spelt in (name, camel(name)):
        nested = {spelt: value}
        for place in ({spelt: value}, {"metas": nested}, {"user_metadata": json.dumps(nested)}):
            yield read, place, spelt
            yield read_task, place, spelt
        yield read_task, {"param_obj": json.dumps(nested)}, spelt
        yield read_chat, nested, spelt
        yield read_chat, {"audio_config": nested}, f"audio_config.{spelt}"


def test_all_are_tried_and_none_is_built():
    assert {entry.name for entry in TABLE} == {*NUMBERS, *FLAGS, *ABSENT, *DETAILS}
    assert not {name for entry in TABLE for name in entry.names} & {name for entry in NATIVE for name in entry.names}


BUILT_OF = [entry.name for entry in TABLE if entry.name not in DETAILS]


@pytest.mark.parametrize("name", BUILT_OF)
def test_neutral_values_pass_and_are_named(name):
    for value in neutral(name):
        for reader, body, spelt in bodies(name, value):
            made, plain = reader({"caption": "x"} | body), reader({"caption": "x"})
            assert (made.values, made.sent) == (plain.values, plain.sent), body
            said = isinstance(value, (bool, int, float, dict)) or bool(value and str(value).strip())
            assert made.unbuilt == ((spelt,) if said else ()), body


@pytest.mark.parametrize("name", BUILT_OF)
def test_any_other_value_is_a_400_of_one_line(name):
    passes = (NUMBERS | FLAGS | ABSENT)[name]
    for value in changing(name):
        for reader, body, spelt in bodies(name, value):
            with pytest.raises(RequestError) as error:
                reader({"caption": "x"} | body)
            assert (error.value.status, error.value.detail) == (
                400, f"{spelt}: is not built yet; only {passes} passes")


@pytest.mark.parametrize("sent", [
    {"retake_seed": 5}, {"retake_seed": 5, "retake_variance": 0}, {"flow_edit_source_caption": "x"},
    {"flow_edit_n_min": 0.5, "flow_edit_n_max": 0.6, "flow_edit_n_avg": 4, "flow_edit_source_lyrics": "la"},
    {"lora_scale": 0.5},
])
def test_what_matters_only_beside_those_passes_and_is_named(sent):
    for reader in (read, read_task, read_chat):
        made, plain = reader({"caption": "x"} | sent), reader({"caption": "x"})
        assert (made.values, made.sent, set(made.unbuilt)) == (plain.values, plain.sent, set(sent))
    assert submission({"caption": "x", "retakeSeed": 5, "fade_in_duration": 0}, BOTH, draw=lambda: 7).notes == (
        "not served, and at values that change nothing: retakeSeed, fade_in_duration",)


async def test_over_http(scripted, tmp_path):
    async with scripted.frontend(tmp_path, workers=0) as services, served(create_app(services)) as client:
        for path in ("/v1/music/generate", "/release_task"):
            answer = await client.post(path, data={"caption": "x", "fadeInDuration": "2"})
            assert (answer.status_code, answer.json()) == (
                400, {"detail": "fadeInDuration: is not built yet; only 0 passes"})
            answer = await client.post(path, files={"source_repaint_latents": ("a.npy", b"x")}, data={"caption": "x"})
            assert (answer.status_code, answer.json()) == (
                400, {"detail": "source_repaint_latents: is not built yet; no file passes"})
        assert not await services.store.list(1)
