"""The native API's fields: names, places, coercion, ranges, and the canonical request they become."""

# mypy: allow-untyped-calls

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from contract.tasks import TASKS, tasks_of
from frontend.audio.decode import FORMATS
from frontend.catalogue import Catalogue
from frontend.chat.fields import TABLE as CHAT_TABLE
from frontend.errors import RequestError
from frontend.jobs.job import Upload
from frontend.musicality import TRACKS
from frontend.native.body import parse_body
from frontend.native.fields import TABLE, read
from frontend.native.submission import submission
from frontend.native.task_fields import TASK_TABLE

SCHEMA = json.loads(
    (Path(__file__).parent.parent / "model_repository/acestep/1/request.schema.json").read_text())
TURBO = {"name": "tiny-turbo", "aliases": ["acestep-v15-turbo"], "is_turbo": True, "audio_is_noise": True,
         "tasks": [*tasks_of(True)], "steps": {"min": 1, "max": 20, "default": 8}}
BASE = {"name": "tiny-base", "aliases": [], "is_turbo": False, "audio_is_noise": True,
        "tasks": [*tasks_of(False)],
        "steps": {"min": 1, "max": 200, "default": 32}}
DESCRIBED = {"models": [TURBO, BASE], "default": "tiny-turbo", "capacity": 4, "lm": None, "embedded": True}
BOTH = Catalogue.from_describe(DESCRIBED)
ONLY_TURBO = Catalogue.from_describe(DESCRIBED | {"models": [TURBO]})
LM = "needs the 5 Hz LM, which is not loaded (LM=none)"
TINY_LM = {"name": "acestep-5Hz-lm-tiny", "duration_max": 60}
WITH_LM = Catalogue.from_describe(DESCRIBED | {"lm": TINY_LM}, ("vllm", "pt"))
COUNTER = iter(range(1000, 10**9))


TEN = {"src_audio": Upload("a", 480_000)}


def work_of(body, uploads=None, draw=lambda: next(COUNTER)):
    return submission(body, BOTH, uploads, draw)


def song(catalogue=BOTH, uploads=None, **body):
    return submission({"caption": "x", **body}, catalogue, uploads, lambda: next(COUNTER)).song


def refusal(catalogue=BOTH, uploads=None, **body):
    with pytest.raises(RequestError) as error:
        submission({"caption": "x", **body}, catalogue, uploads)
    assert error.value.status == 400
    assert "\n" not in error.value.detail
    return error.value.detail


def test_defaults_are_the_documents():
    work = work_of({"caption": "x"}, draw=lambda: 7)
    assert work.audio_format == "mp3"
    assert work.song == {
        "v": 1, "kind": "song", "model": "tiny-turbo", "task": "text2music", "caption": "x", "lyrics": "",
        "vocal_language": None, "instrumental": False, "bpm": None, "key_scale": "", "time_signature": "",
        "duration": None, "instruction": "", "seeds": [7, 7], "steps": None, "shift": 3.0, "timesteps": None,
        "infer_method": "ode", "guidance_scale": 7.0, "use_adg": False, "cfg_interval": [0.0, 1.0], "codes": None,
        "tracks": [], "repaint_start": 0.0, "repaint_end": None, "cover_strength": 1.0, "return": [],
        "sampler_mode": "euler", "velocity_norm_threshold": 0.0, "velocity_ema_factor": 0.0, "dcw_enabled": False,
        "dcw_mode": "double", "dcw_scaler": 0.05, "dcw_high_scaler": 0.02, "dcw_wavelet": "haar", "latent_shift": 0.0,
        "latent_rescale": 1.0, "repaint_mode": None, "repaint_strength": 0.5, "cover_noise_strength": 0.0,
        "chunk_mask_mode": "explicit", "global_caption": "", "fallback_duration": 30.0,
        "thinking": False, "sample_query": "", "sample_mode": False, "use_format": "off",
        "use_cot_metas": True, "use_cot_caption": True, "use_cot_language": True, "constrained_decoding": True,
        "lm_engine": None, "lm_temperature": 0.85, "lm_cfg_scale": 2.5, "lm_top_k": 0, "lm_top_p": 0.9,
        "lm_repetition_penalty": 1.0, "lm_negative_prompt": "NO USER INPUT",
    }
    assert work.uploads == {}
    assert work.notes == ()


@pytest.mark.parametrize("body", [
    {}, {"lyrics": "[inst]"}, {"batch_size": 8, "seed": 2**32 - 1, "use_random_seed": False}, {"model": "tiny-base"},
    {"duration": 600, "bpm": 30, "key_scale": "bbm", "time_signature": "6/8", "timesteps": "1,0.5,0", "shift": 1,
     "cfg_interval_end": 0, "guidance_scale": 0, "inference_steps": 20, "vocal_language": "yue", "instruction": "Do."},
    {"task_type": "repaint", "repainting_start": -590, "repainting_end": 10, "infer_method": "sde", "use_adg": True},
    {"task_type": "complete", "model": "tiny-base", "track_classes": "drums, Backing Vocals", "guidance_scale": 30},
    {"thinking": True, "audio_code_string": ["<|audio_code_0|>", "<|audio_code_63999|>"], "audio_cover_strength": 0},
    {"sampler_mode": "heun", "velocity_norm_threshold": 10, "velocity_ema_factor": 1, "dcw_enabled": True,
     "dcw_mode": "pix", "dcw_scaler": 1, "dcw_high_scaler": 1, "dcw_wavelet": "haar", "latent_shift": -10,
     "latent_rescale": 10, "global_caption": "g" * 2000, "chunk_mask_mode": "auto"},
    {"task_type": "cover-nofsq", "cover_noise_strength": 1, "repaint_mode": "aggressive", "repaint_strength": 0,
     "repaint_latent_crossfade_frames": 10**6, "repaint_wav_crossfade_sec": 3.5, "latent_rescale": 0.1},
])
@pytest.mark.parametrize("catalogue", [BOTH, WITH_LM], ids=["without an LM", "with one"])
def test_every_request_meets_the_pipelines_schema_with_every_field(body, catalogue):
    request = song(catalogue, uploads=TEN, **body)
    jsonschema.validate(request, SCHEMA)
    assert set(request) == set(SCHEMA["properties"])


@pytest.mark.parametrize("body", [
    {"lm_temperature": 2, "lm_cfg_scale": 10, "lm_top_k": 10**9, "lm_top_p": 1e9, "lm_repetition_penalty": 0.5,
     "lm_negative_prompt": "x" * 2000, "use_cot_caption": False, "constrained": False},
    {"thinking": True, "lm_backend": "pt", "sample_query": "q" * 2000, "use_format": True, "lm_temperature": 0},
    {"sample_mode": True, "vocal_language": "unknown", "lm_model_path": "acestep-5Hz-lm-tiny", "lm_cfg_scale": 0},
])
def test_what_is_asked_of_the_lm_meets_the_pipelines_schema(body):
    jsonschema.validate(song(WITH_LM, **body), SCHEMA)


CANONICAL = {  # field: (value sent, key of the canonical request, value there)
    "caption": ("c", "caption", "c"), "lyrics": ("l", "lyrics", "l"), "vocal_language": ("ZH", "vocal_language", "zh"),
    "model": ("tiny-base", "model", "tiny-base"), "bpm": ("120.0", "bpm", 120),
    "key_scale": ("am", "key_scale", "A minor"),
    "time_signature": (4, "time_signature", "4"), "audio_duration": ("30", "duration", 30.0),
    "inference_steps": ("12", "steps", 12), "guidance_scale": (3, "guidance_scale", 3.0), "shift": ("2", "shift", 2.0),
    "infer_method": ("ODE", "infer_method", "ode"), "timesteps": ([0.9, 0.5], "timesteps", [0.9, 0.5]),
    "cfg_interval_start": ("0.25", "cfg_interval", [0.25, 1.0]), "cfg_interval_end": (0, "cfg_interval", [0.0, 0.0]),
    "task_type": ("Cover", "task", "cover"), "use_adg": ("yes", "use_adg", True),
    "audio_cover_strength": ("0.25", "cover_strength", 0.25), "track_name": ("Vocals", "tracks", ["vocals"]),
    "track_classes": (["drums", "bass"], "tracks", ["drums", "bass"]),
    "instruction": ("Do it.", "instruction", "Do it."), "sampler_mode": ("HEUN", "sampler_mode", "heun"),
    "velocity_norm_threshold": ("2", "velocity_norm_threshold", 2.0),
    "velocity_ema_factor": (0.1, "velocity_ema_factor", 0.1), "dcw_enabled": ("on", "dcw_enabled", True),
    "dcw_mode": ("Low", "dcw_mode", "low"), "dcw_scaler": ("0.5", "dcw_scaler", 0.5),
    "dcw_high_scaler": (1, "dcw_high_scaler", 1.0), "dcw_wavelet": ("Haar", "dcw_wavelet", "haar"),
    "latent_shift": ("-1.5", "latent_shift", -1.5), "latent_rescale": (0.5, "latent_rescale", 0.5),
    "repaint_mode": ("Balanced", "repaint_mode", "balanced"), "repaint_strength": ("0.25", "repaint_strength", 0.25),
    "chunk_mask_mode": ("AUTO", "chunk_mask_mode", "auto"),
    "cover_noise_strength": ("0.75", "cover_noise_strength", 0.75),
    "global_caption": ("a slow song", "global_caption", "a slow song"),
}


@pytest.mark.parametrize(("entry", "name"), [(e, name) for e in TABLE if e.name in CANONICAL for name in e.names])
def test_each_name_of_a_field_reaches_the_canonical_request(entry, name):
    value, key, expected = CANONICAL[entry.name]
    rest = {"lyrics": "la"} if entry.name == "caption" else {"caption": "x"}
    assert work_of(rest | {name: value}, TEN).song[key] == expected
    if entry.nested:
        for container in ("metas", "meta", "metadata", "user_metadata", "userMetadata"):
            for nested in ({name: value}, json.dumps({name: value})):
                assert work_of(rest | {container: nested}, TEN).song[key] == expected


@pytest.mark.parametrize(("field", "value", "other", "key", "expected"), [
    ("repainting_start", "2.5", {}, "repaint_start", 2.5), ("repainting_end", 7, {}, "repaint_end", 7.0),
    ("audio_code_string", "<|audio_code_7|><|audio_code_63999|>", {"task_type": "cover"}, "codes", [[7, 63999]]),
])
def test_fields_of_a_task_reach_the_canonical_request(field, value, other, key, expected):
    for entry in TABLE:
        for name in entry.names if entry.name == field else ():
            body = {"task_type": "repaint", "thinking": True, name: value} | other
            assert song(uploads=TEN, **body)[key] == expected
            nested = {"task_type": "repaint", "thinking": True, "metas": json.dumps({name: value})} | other
            assert song(uploads=TEN, **nested)[key] == expected


@pytest.mark.parametrize("table", [TABLE, TASK_TABLE, CHAT_TABLE], ids=["native", "task", "chat"])
def test_every_name_of_a_field_has_its_camel_name(table):
    for name, names in [(name, entry.names) for entry in table for name in entry.names]:
        head, *tail = name.split("_")
        assert head + "".join(map(str.capitalize, tail)) in names


def test_camel_names_come_after_those_that_are_listed():
    names = {entry.name: entry.names for entry in TABLE}
    assert names["use_cot_language"] == (
        "use_cot_language", "cot_language", "cot-language", "useCotLanguage", "cotLanguage")
    assert names["audio_duration"] == (
        "audio_duration", "duration", "audioDuration", "target_duration", "targetDuration"), "the documents' order"
    assert song(WITH_LM, cotCaption=False)["use_cot_caption"] is False
    assert song(WITH_LM, metas={"cotLanguage": "no"})["use_cot_language"] is False
    assert song(WITH_LM, cotCaption=False, cot_caption=True)["use_cot_caption"] is True


def test_the_documentation_lists_other_names_but_no_camel_forms():
    also = {entry.name: entry.also for entry in TASK_TABLE}
    assert also["audio_duration"] == ("duration", "target_duration")
    assert also["key_scale"] == ("keyscale", "key")
    assert also["use_cot_caption"] == ("cot_caption", "cot-caption")
    assert also["src_audio_path"] == ("ctx_audio_path", "sourceAudioPath")
    assert also["bpm"] == ()


@pytest.mark.parametrize("name", [e.name for e in TABLE if not e.nested])
def test_other_fields_are_not_read_from_the_nested_object(name):
    assert song(metas={name: [], "caption": "no", "seed": "text", "batch_size": 99})["caption"] == "x"


def test_precedence():
    assert song(duration=20, audio_duration=30)["duration"] == 30
    assert song(duration=20, audio_duration=None)["duration"] == 20
    assert song(bpm=100, metas={"bpm": 90})["bpm"] == 100
    assert song(bpm=None, metas={"bpm": 90})["bpm"] == 90
    assert song(target_duration=20, metas={"audio_duration": 30})["duration"] == 20, "top level first"
    assert song(metas={}, metadata={"bpm": 80}, user_metadata={"bpm": 70})["bpm"] == 80
    assert song(metas={"x": 1}, metadata={"bpm": 80})["bpm"] is None, "only the first container that is not empty"
    assert song(metas="{broken", metadata={"bpm": 80})["bpm"] is None


def test_empty_text_and_null_are_the_default():
    body = {name: value for entry in TABLE for name, value in ((entry.names[-1], ""), (entry.name, None))}
    assert read(body).values == read({}).values == {entry.name: entry.default for entry in TABLE}
    assert read(body).sent == {}


@pytest.mark.parametrize("value", [True, "1", "true", " Yes ", "y", "ON", 1])
def test_true_words(value):
    assert read({"thinking": value})["thinking"] is True


@pytest.mark.parametrize("value", [False, "0", "off", "nein", "2", 0, 2])
def test_all_other_words_are_false(value):
    assert read({"use_cot_caption": value})["use_cot_caption"] is False


def test_unknown_names_change_nothing():
    assert song(colour="blue", temperature="x") | {"seeds": []} == song() | {"seeds": []}


EDGES: list[tuple[str, list[Any], list[Any], str]] = [  # name, good values, bad values, what the message says
    ("bpm", [30, 300, "30", 120.0], [29, 301, -2, 9999, True], "must be between 30 and 300"),
    ("audio_duration", [10, 600, "10.5"], [9.99, 600.01, 99999, 1], "must be between 10 and 600"),
    ("inference_steps", [1, 20], [0, -3, 201], "must be between 1 and 200"),
    ("guidance_scale", [0, 30], [-0.1, 30.5], "must be between 0 and 30"),
    ("seed", [-1, 0, 2**63 - 1, "1,2", [1, 2]], [-2, 2**63, "1,-5"], f"must be between 0 and {2**63 - 1}, or -1"),
    ("batch_size", [1, 8, "8"], [0, 9, -3], "must be between 1 and 8"),
    ("shift", [1, 5], [0, 0.9, 5.1], "must be between 1 and 5"),
    ("cfg_interval_start", [0, 1], [-0.1, 1.1], "must be between 0 and 1"),
    ("cfg_interval_end", [0, 1], [-0.1, 1.1], "must be between 0 and 1"),
    ("lm_temperature", [0, 2], [-0.1, 2.1], "must be between 0 and 2"),
    ("lm_cfg_scale", [0, 10], [-1, 11], "must be between 0 and 10"),
    ("lm_top_k", [0, 50], [-1], "must be at least 0"),
    ("lm_top_p", [0.1, 1, 5], [0, -1], "must be above 0"),
    ("lm_repetition_penalty", [0.5, 2], [0.4, 2.1], "must be between 0.5 and 2"),
    ("audio_cover_strength", [0, 1], [-0.1, 7.0], "must be between 0 and 1"),
    ("repainting_start", [-600, 0, 5], [-601], "must be at least -600"),
    ("repainting_end", [-1, 10], [-2], "must be at least -1"),
    ("velocity_norm_threshold", [0, 10], [-0.1, 10.1], "must be between 0 and 10"),
    ("velocity_ema_factor", [0, 1], [-0.1, 1.1], "must be between 0 and 1"),
    ("dcw_scaler", [0, 1], [-0.1, 1.1], "must be between 0 and 1"),
    ("dcw_high_scaler", [0, 1], [-0.1, 1.1], "must be between 0 and 1"),
    ("latent_shift", [-10, 10], [-10.1, 10.1], "must be between -10 and 10"),
    ("latent_rescale", [0.1, 10], [0, 0.09, 10.1], "must be between 0.1 and 10"),
    ("repaint_strength", [0, 1], [-0.1, 1.1], "must be between 0 and 1"),
    ("cover_noise_strength", [0, 1], [-0.1, 1.1], "must be between 0 and 1"),
    ("repaint_latent_crossfade_frames", [0, 10], [-1], "must be at least 0"),
    ("repaint_wav_crossfade_sec", [0, 2.5], [-0.1], "must be at least 0"),
]


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, good, _, _ in EDGES for v in good])
def test_edges_are_in(name, value):
    song(**{name: value})


@pytest.mark.parametrize(("name", "value", "text"), [(name, v, text) for name, _, bad, text in EDGES for v in bad])
def test_beyond_the_edges_is_a_400_with_name_and_range(name, value, text):
    assert refusal(**{name: value}).startswith(f"{name}: {text}")


@pytest.mark.parametrize("name", [name for name, *_ in EDGES])
@pytest.mark.parametrize("value", ["many", "1.2.3", {"a": 1}, "nan", "inf", math.nan, -math.inf, "1_0", "0x10"])
def test_what_is_no_number_is_a_400(name, value):
    assert refusal(**{name: value}).startswith(f"{name}: must be a")


def test_huge_numbers_are_refused_not_fatal():
    for value in (10**400, "9" * 5000, "1e999"):
        for name in ("bpm", "seed", "audio_duration", "shift", "lm_top_k"):
            if name != "lm_top_k" or isinstance(value, str):
                refusal(**{name: value})


@pytest.mark.parametrize(("body", "detail"), [
    ({"duration": 5}, "duration: must be between 10 and 600"),
    ({"metas": {"keyscale": "H dur"}}, "keyscale: must be a note A to G"),
    ({"timeSignature": "17"}, "timeSignature: must be one of 2, 3, 4, 6"),
    ({"vocal_language": "klingon"}, "vocal_language: must be one of ar, az, "),
    ({"audioFormat": "ogg"}, "audioFormat: must be one of mp3, wav, flac, opus, aac, wav32"),
    ({"audio_format": "../../x"}, "audio_format: must be one of mp3, wav, flac, opus, aac, wav32"),
    ({"infer_method": "euler"}, "infer_method: must be one of ode, sde"),
    ({"lm_backend": "onnx"}, "lm_backend: must be one of vllm, pt"),
    ({"samplerMode": "rk4"}, "samplerMode: must be one of euler, heun"),
    ({"dcw_mode": "all"}, "dcw_mode: must be one of low, high, double, pix"),
    ({"dcw_wavelet": "db4", "dcw_enabled": True}, "dcw_wavelet: must be haar with dcw_enabled; no other is built"),
    ({"dcw_wavelet": "daisy"}, "dcw_wavelet: must be one of haar, db1, db2, db4, sym4, sym8, coif2"),
    ({"metas": {"dcwWavelet": 4}}, "dcwWavelet: must be one of haar, db1, db2, db4, sym4, sym8, coif2"),
    ({"repaint_mode": "gentle"}, "repaint_mode: must be one of conservative, balanced, aggressive"),
    ({"chunk_mask_mode": "ones"}, "chunk_mask_mode: must be one of explicit, auto"),
    ({"global_caption": "g" * 2001}, "global_caption: must have at most 2000 characters"),
    ({"task_type": "remix"}, f"task_type: must be one of {', '.join(TASKS)}"),
    ({"model": "gpt"}, "model: must be one of tiny-turbo, tiny-base"),
    ({"timesteps": "0.5,0.9"}, "timesteps: must decrease"),
    ({"timesteps": "0.9,0.5,0,0"}, "timesteps: must be between 0 and 1, with 0 only at the end"),
    ({"timesteps": "1.5,0.5"}, "timesteps: must be between 0 and 1"),
    ({"timesteps": "fast"}, "timesteps: must be a number"),
    ({"timesteps": [0]}, "timesteps: must have 1 to 200 values"),
    ({"timesteps": [1 - i / 30 for i in range(21)]},
     "timesteps: must have at most 20 values above 0 on tiny-turbo"),
    ({"cfg_interval_start": 0.6, "cfg_interval_end": 0.5},
     "cfg_interval_start: must not be above cfg_interval_end, 0.5"),
    ({"repainting_start": 5, "repainting_end": 5}, "repainting_end: must be -1 or above repainting_start"),
    ({"repainting_start": -2, "repainting_end": -0.5},
     "repainting_end: must be above 0, or 0 or -1 for the source's end"),
    ({"repaintingEnd": "-0.001"}, "repaintingEnd: must be above 0, or 0 or -1 for the source's end"),
    ({"caption": "a" * 2001}, "caption: must have at most 2000 characters"),
    ({"lyrics": "a" * 8001}, "lyrics: must have at most 8000 characters"),
    ({"caption": ["a"]}, "caption: must be text"),
    ({"caption": "\ud800"}, "caption: must be valid Unicode text"),
    ({"thinking": [1]}, "thinking: must be true or false"),
    ({"caption": ""}, "caption: give a caption, lyrics, sample_query or sample_mode; all are empty"),
    ({"caption": " ", "lyrics": "\n", "bpm": 100}, "caption: give a caption, lyrics, sample_query or sample_mode"),
])
def test_refusals(body, detail):
    assert refusal(**body).startswith(detail)


LM_CANONICAL = {  # field: (value sent, key of the canonical request, value there)
    "thinking": ("yes", "thinking", True), "sample_mode": (True, "sample_mode", True),
    "sample_query": ("  a song  ", "sample_query", "a song"), "use_format": ("1", "use_format", "need"),
    "use_cot_caption": ("no", "use_cot_caption", False), "use_cot_language": (False, "use_cot_language", False),
    "constrained_decoding": (0, "constrained_decoding", False), "lm_backend": ("PT", "lm_engine", "pt"),
    "lm_temperature": ("0", "lm_temperature", 0.0), "lm_cfg_scale": ("1.5", "lm_cfg_scale", 1.5),
    "lm_top_k": ("50", "lm_top_k", 50), "lm_top_p": (1, "lm_top_p", 1.0),
    "lm_repetition_penalty": ("1.25", "lm_repetition_penalty", 1.25),
    "lm_negative_prompt": ("drums", "lm_negative_prompt", "drums"),
}


@pytest.mark.parametrize(("entry", "name"), [(e, n) for e in TABLE if e.name in LM_CANONICAL for n in e.names])
def test_each_name_of_an_lm_field_reaches_the_canonical_request(entry, name):
    value, key, expected = LM_CANONICAL[entry.name]
    plain, request = song(WITH_LM), song(WITH_LM, **{name: value})
    assert plain[key] != request[key] == expected
    if entry.nested:
        assert song(WITH_LM, metas={name: value})[key] == expected
    else:
        assert song(WITH_LM, metas={name: value})[key] == plain[key]


def test_every_field_of_the_lm_is_tried():
    assert {entry.name for entry in TABLE if entry.name.startswith(("lm_", "use_cot"))} <= {
        *LM_CANONICAL, "lm_model_path"}


@pytest.mark.parametrize(("body", "detail"), [
    ({"thinking": True}, f"thinking: {LM}"),
    ({"desc": "a love song"}, f"desc: {LM}"),
    ({"caption": "", "metas": {"sampleQuery": "a love song"}}, f"sampleQuery: {LM}"),
    ({"sampleMode": True}, f"sampleMode: {LM}"),
    ({"format": True}, f"format: {LM}"),
    ({"task_type": "complete", "model": "tiny-base", "use_format": True}, f"use_format: {LM}"),
    ({"lm_model_path": "acestep-5Hz-lm-0.6B"}, f"lm_model_path: {LM}"),
    ({"lmBackend": "pt"}, f"lmBackend: {LM}"),
])
def test_what_needs_the_lm_says_so_where_there_is_none(body, detail):
    assert refusal(uploads=TEN, **body) == detail


@pytest.mark.parametrize(("body", "detail"), [
    ({"lm_model_path": "acestep-5Hz-lm-4B"}, "lm_model_path: must be acestep-5Hz-lm-tiny, the LM that is loaded"),
    ({"lmModelPath": "/models/acestep-5Hz-lm-tiny"},
     "lmModelPath: must be acestep-5Hz-lm-tiny, the LM that is loaded"),
    ({"lm_model_path": "../acestep-5Hz-lm-tiny"}, "lm_model_path: must be acestep-5Hz-lm-tiny, the LM that is loaded"),
    ({"lm_model_path": "x" * 201}, "lm_model_path: must have at most 200 characters"),
    ({"lm_backend": "onnx"}, "lm_backend: must be one of vllm, pt"),
    ({"sample_query": "q" * 2001}, "sample_query: must have at most 2000 characters"),
    ({"sample_query": ["q"]}, "sample_query: must be text"),
    ({"constrained": [1]}, "constrained: must be true or false"),
    ({"lm_negative_prompt": "x" * 2001}, "lm_negative_prompt: must have at most 2000 characters"),
    ({"caption": " "}, "caption: give a caption, lyrics, sample_query or sample_mode; all are empty"),
    ({"caption": "", "use_format": True, "thinking": True}, "caption: give a caption, lyrics, sample_query or sample"),
])
def test_what_no_lm_can_do_is_refused(body, detail):
    assert refusal(WITH_LM, **body).startswith(detail)


@pytest.mark.parametrize("name", ["acestep-5Hz-lm-tiny", " acestep-5Hz-lm-tiny ", "acestep-5Hz-lm-0.6B", None, ""])
def test_the_loaded_lm_goes_by_its_name_and_by_the_documents_name(name):
    assert song(WITH_LM, lm_model_path=name) | {"seeds": []} == song(WITH_LM) | {"seeds": []}


def test_the_documents_name_is_no_alias_of_a_real_lm():
    real = Catalogue.from_describe(
        DESCRIBED | {"embedded": False, "lm": {"name": "acestep-5Hz-lm-1.7B", "duration_max": 600}})
    assert refusal(real, lm_model_path="acestep-5Hz-lm-0.6B") == (
        "lm_model_path: must be acestep-5Hz-lm-1.7B, the LM that is loaded")


@pytest.mark.parametrize(("engines", "sent", "engine"), [
    (("vllm",), None, "vllm"), (("vllm",), "vllm", "vllm"), (("pt",), None, "pt"), (("pt",), "pt", "pt"),
    (("vllm", "pt"), None, "vllm"), (("vllm", "pt"), "pt", "pt"),
])
def test_the_engine_is_one_that_is_loaded(engines, sent, engine):
    catalogue = Catalogue.from_describe(DESCRIBED | {"lm": TINY_LM}, engines)
    assert song(catalogue, lm_backend=sent)["lm_engine"] == engine
    for other in {"vllm", "pt"} - set(engines):
        assert refusal(catalogue, lm_backend=other) == f"lm_backend: must be {engines[0]}; {other} is not loaded"


def test_a_wish_or_sample_mode_needs_no_text():
    for body in ({"sample_query": "a song"}, {"sample_mode": True}, {"metas": {"desc": "a song"}, "thinking": True}):
        assert song(WITH_LM, **{"caption": "", **body})["caption"] == ""


@pytest.mark.parametrize("task", ["text2music", "cover"])
def test_given_codes_are_used_without_the_lm(task):
    for catalogue in (BOTH, WITH_LM):
        request = song(catalogue, task_type=task, thinking=True, audio_code_string=CODE)
        assert (request["thinking"], request["codes"]) == (False, [[1]])


@pytest.mark.parametrize("task", ["cover", "repaint"])
@pytest.mark.parametrize("catalogue", [BOTH, WITH_LM], ids=["without an LM", "with one"])
def test_cover_and_repaint_use_no_lm_and_say_so(task, catalogue):
    sent = {"task_type": task, "thinking": True, "desc": "in Thai", "sample_mode": True, "format": "yes"}
    work = submission(sent, catalogue, TEN)
    asked = {name: work.song[name] for name in ("thinking", "sample_query", "sample_mode", "use_format")}
    assert asked == {"thinking": False, "sample_query": "", "sample_mode": False, "use_format": "off"}
    assert work.song["vocal_language"] is None
    assert work.notes == (f"thinking was not used: {task} follows its source",
                          *(f"{name} was not used: {task} uses no LM" for name in ("sample_mode", "desc", "format")))


def test_no_task_with_a_source_makes_codes():
    request = song(WITH_LM, TEN, task_type="complete", model="tiny-base", thinking=True, use_format=True)
    assert (request["thinking"], request["use_format"]) == (False, "need")


@pytest.mark.parametrize(("body", "language"), [
    ({}, None), ({"vocal_language": ""}, None), ({"vocal_language": "EN"}, "en"),
    ({"vocal_language": "unknown"}, "unknown"), ({"metas": {"vocalLanguage": "zh"}}, "zh"),
    ({"caption": "in Japanese"}, None),
    ({"sample_query": "a Japanese song"}, "ja"), ({"sample_query": "a song"}, None),
    ({"sample_query": "a Japanese song", "vocal_language": "ko"}, "ko"),
    ({"sample_query": "a Japanese song", "vocal_language": "en"}, "ja"),
    ({"sample_query": "a Japanese song", "vocal_language": "unknown"}, "ja"),
    ({"sample_query": "a song", "vocal_language": "en"}, "en"),
    ({"sample_query": "a song", "vocal_language": "unknown"}, None),
    ({"sample_mode": True, "vocal_language": "unknown"}, "unknown"),
    ({"sample_query": "一首适合安静夜晚的柔和孟加拉情歌", "thinking": True}, "bn"),
])
def test_the_language_is_the_users_then_the_wishs_then_open(body, language):
    assert song(WITH_LM, **body)["vocal_language"] == language


CODE = "<|audio_code_1|>"
TEXT = "must be uploaded as a file, in multipart/form-data"


@pytest.mark.parametrize(("body", "detail"), [
    ({"task_type": "lego"}, "task_type: lego is not a task of tiny-turbo; these models can: tiny-base"),
    ({"taskType": "extract"}, "taskType: extract is not a task of tiny-turbo; these models can: tiny-base"),
    ({"task_type": "cover"},
     f"src_audio: is needed by cover; upload {FORMATS}, or audio_code_string with thinking=true"),
    ({"task_type": "cover", "audio_code_string": CODE}, "src_audio: is needed by cover"),
    ({"task_type": "repaint"}, f"src_audio: is needed by repaint; upload {FORMATS}"),
    *(({"task_type": task, "model": "tiny-base"}, f"src_audio: is needed by {task}; ")
      for task in ("lego", "extract", "complete")),
    ({"src_audio": "song.wav"}, f"src_audio: {TEXT}"),
    ({"referenceAudio": {"a": 1}}, f"referenceAudio: {TEXT}"),
])
def test_what_a_task_needs(body, detail):
    assert refusal(**body).startswith(detail)


@pytest.mark.parametrize(("body", "detail"), [
    ({"repainting_start": 5, "repainting_end": 5}, "repainting_end: must be -1 or above repainting_start"),
    ({"repainting_start": -2, "repainting_end": -0.5},
     "repainting_end: must be above 0, or 0 or -1 for the source's end"),
    ({"repaintingEnd": "-0.001"}, "repaintingEnd: must be above 0, or 0 or -1 for the source's end"),
    ({"repaintingStart": 10}, "repaintingStart: must be before the source's end, 10 seconds"),
    ({"repainting_start": 700, "repainting_end": 800}, "repainting_start: must be before the source's end"),
    ({"repainting_start": -591}, "repainting_start: makes a song of 601 seconds; at most 600 are allowed"),
    ({"repainting_end": 601}, "repainting_end: makes a song of 601 seconds; at most 600 are allowed"),
    ({"repainting_start": -300, "repainting_end": 400}, "repainting_start: makes a song of 700 seconds"),
    ({"thinking": True, "audio_code_string": CODE},
     "audio_code_string: cannot be used with repaint; only with text2music and cover"),
])
def test_regions_that_cannot_be(body, detail):
    assert refusal(uploads=TEN, task_type="repaint", **body).startswith(detail)


@pytest.mark.parametrize(("start", "end", "region"), [
    (None, None, (0, None)), (3, -1, (3, None)), (3, 0, (3, None)), ("3", "8.5", (3, 8.5)), (-5, 12, (-5, 12)),
    (-590, None, (-590, None)), (0, 600, (0, 600)), (9.99, "-1", (9.99, None)),
])
def test_regions(start, end, region):
    request = song(uploads=TEN, task_type="repaint", repainting_start=start, repainting_end=end)
    assert (request["repaint_start"], request["repaint_end"]) == region


@pytest.mark.parametrize(("sent", "codes"), [
    (CODE, [[1]]), (f"a {CODE}\n<|audio_code_063999|> b", [[1, 63999]]), ([CODE, CODE * 2], [[1], [1, 1]]),
    (f'["{CODE}", "<|audio_code_2|>"]', [[1], [2]]), ([CODE], [[1]]), (CODE * 3000, [[1] * 3000]),
])
def test_codes_with_thinking_need_no_lm(sent, codes):
    for task in ("text2music", "cover"):
        assert song(task_type=task, thinking=True, audio_code_string=sent)["codes"] == codes
        assert song(uploads=TEN, task_type=task, audio_code_string=sent)["codes"] is None, "without thinking: ignored"
    assert work_of({"thinking": True, "audio_code_string": sent}).song["caption"] == "", "codes are enough"


@pytest.mark.parametrize(("sent", "detail"), [
    ("<|audio_code_64000|>", "must have codes between 0 and 63999"),
    (f"<|audio_code_{'9' * 9000}|>", "must have codes between 0 and 63999"),
    ("1 2 3", "must have 1 to 3000 <|audio_code_N|> tokens"), ([CODE, ""], "must have 1 to 3000"),
    ("<|audio_code_-1|>", "must have 1 to 3000"), (CODE * 3001, "must have 1 to 3000"),
    ([CODE] * 3, "must be one text for all 2 items or one for each, not 3"), ([[1]], "must be text"),
    ("x" * 100_001, "must have at most 100000 characters"),
])
def test_codes_that_cannot_be(sent, detail):
    assert refusal(thinking=True, audio_code_string=sent).startswith(f"audio_code_string: {detail}")


def test_uploads_that_the_task_does_not_use_are_left_out_and_named():
    both = TEN | {"reference_audio": Upload("b", 1)}
    plain = work_of({"caption": "x"}, both)
    assert plain.uploads == {"reference_audio": Upload("b", 1)}
    assert plain.notes[0] == "src_audio was not used: text2music follows none"
    coded = work_of({"task_type": "cover", "thinking": True, "audio_code_string": CODE}, both)
    assert coded.uploads == {"reference_audio": Upload("b", 1)}
    assert coded.notes[0] == "src_audio was not used: the audio codes win"
    cover = work_of({"task_type": "cover", "thinking": True, "duration": 30}, both)
    assert cover.uploads == both
    assert cover.notes == ("thinking was not used: cover follows its source",
                           "duration was not used: cover has its source's length")


@pytest.mark.parametrize(("body", "tracks"), [
    ({"track_name": "vocals"}, ["vocals"]),
    ({"trackClasses": "Drums, BACKING vocals,drums"}, ["drums", "backing_vocals"]),
    ({"track_classes": ["bass", "backing-vocals"]}, ["bass", "backing_vocals"]),
    ({"track_classes": '["fx", "keyboard"]'}, ["fx", "keyboard"]),
    ({"track_name": "bass", "track_classes": "bass,brass"}, ["bass", "brass"]), ({"track_name": ""}, []),
])
def test_tracks(body, tracks):
    assert song(uploads=TEN, task_type="lego", model="tiny-base", **body)["tracks"] == tracks


def test_the_pipelines_tracks_are_ours():
    assert SCHEMA["properties"]["tracks"]["items"]["enum"] == list(TRACKS)
    assert refusal(track_name="kazoo") == f"track_name: must be of {', '.join(TRACKS)}"


def test_lego_without_a_base_model():
    assert refusal(ONLY_TURBO, task_type="lego") == (
        "task_type: lego is not a task of tiny-turbo; no model served here can")


@pytest.mark.parametrize("body", [
    {"audio_code_string": CODE}, {"format": "mp3"}, {"lm_backend": "vllm"}, {"use_cot_caption": True},
    {"sample_query": "  "}, {"use_tiled_decode": False}, {"repainting_start": 3}, {"repainting_end": 9999},
    {"constrained_decoding_debug": True}, {"is_format_caption": True}, {"task_type": "text2music"},
])
def test_values_that_change_no_song_are_accepted(body):
    assert song(**body) | {"seeds": []} == song() | {"seeds": []}


@pytest.mark.parametrize("model", ["tiny-base", "tiny-turbo"])
def test_guidance_and_sampler_go_through(model):
    assert song(model=model)["guidance_scale"] == 7.0
    request = song(model=model, guidance_scale=0.5, use_adg=True, infer_method="sde", cfg_interval_start=0.2)
    assert (request["guidance_scale"], request["use_adg"], request["infer_method"]) == (0.5, True, "sde")
    assert request["cfg_interval"] == [0.2, 1.0]


@pytest.mark.parametrize("name", ["acestep-v15-turbo", "tiny-turbo", None])
def test_aliases_become_the_real_name(name):
    assert song(model=name)["model"] == "tiny-turbo"


@pytest.mark.parametrize(("content_type", "body"), [
    ("application/json", b'{"a": 1}'), ("Application/JSON; charset=utf-8", b'{"a": 1}'),
    ("application/vnd.x+json", b'{"a": 1}'), ("", b' {"a": 1}'), ("text/plain", b'{"a": 1}'),
    ("application/x-www-form-urlencoded", b'{"a": 1}'), ("application/json", b'\xef\xbb\xbf{"a": 0, "a": 1}'),
])
def test_json_bodies(content_type, body):
    assert parse_body(content_type, body) == {"a": 1}


@pytest.mark.parametrize(("body", "fields"), [
    (b"caption=a+%F0%9F%8E%B5&bpm=120&caption=b&lyrics=", {"caption": "a 🎵", "bpm": "120", "lyrics": ""}),
    (b"a=1", {"a": "1"}),
])
def test_forms(body, fields):
    for content_type in ("application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded; charset=utf-8", ""):
        assert parse_body(content_type, body) == fields


def test_a_form_gives_the_same_song_as_json():
    form = parse_body("", b"task_type=repaint&repainting_start=2&seed=1,2&use_random_seed=false&metas={%22bpm%22:90}")
    sent = {"task_type": "repaint", "repainting_start": 2, "seed": [1, 2], "use_random_seed": False, "bpm": 90}
    assert work_of(form, TEN) == work_of(sent, TEN)


UNSUPPORTED = "; use application/json, application/x-www-form-urlencoded, or multipart/form-data"


@pytest.mark.parametrize(("content_type", "body", "status", "detail"), [
    ("application/json", b"[1]", 400, "JSON payload must be an object"),
    ("application/json", b"null", 400, "JSON payload must be an object"),
    ("application/json", b"", 400, "Invalid JSON: Expecting value at line 1 column 1"),
    ("application/json", b"\xff{}", 400, "Invalid JSON: the body is not UTF-8"),
    ("application/json", b"[" * 100_000, 400, "Invalid JSON: a number or a nesting is too large"),
    ("application/json", b'{"bpm": ' + b"9" * 5000 + b"}", 400, "Invalid JSON: a number or a nesting is too large"),
    ("", b"[1]", 400, "JSON payload must be an object; set Content-Type: application/json"),
    ("application/x-www-form-urlencoded", b"caption=%ff", 400,
     "application/x-www-form-urlencoded: must be UTF-8 text with at most 1000 fields"),
    ("", b"a=1&" * 1001, 400, "application/x-www-form-urlencoded: must be UTF-8 text with at most 1000 fields"),
    ("", b"", 415, "Unsupported Content-Type: (missing)" + UNSUPPORTED),
    ("text/csv", b"a,b", 415, "Unsupported Content-Type: text/csv" + UNSUPPORTED),
])
def test_bodies_that_cannot_be_read(content_type, body, status, detail):
    with pytest.raises(RequestError) as error:
        parse_body(content_type, body)
    assert (error.value.status, error.value.detail) == (status, detail)
