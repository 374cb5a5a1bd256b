"""The song contract: what the pipeline takes, and what it says of the rest."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contract.tasks import TASKS
from pipeline import request
from pipeline.errors import SongError
from pipeline.request import SCHEMA, parse_json, read_song

BAD: list[tuple[dict[str, Any], str]] = [
    ({"duration": 9.9}, "duration: must be between 10 and 600"),
    ({"duration": 601}, "duration: must be between 10 and 600"),
    ({"duration": "long"}, "duration: must be a number or null"),
    ({"bpm": 29}, "bpm: must be between 30 and 300"),
    ({"bpm": 120.5}, "bpm: must be a whole number or null"),
    ({"steps": 0}, "steps: must be between 1 and 200"),
    ({"shift": 0.9}, "shift: must be between 1 and 5"),
    ({"seeds": []}, "seeds: must have 1 to 8 entries"),
    ({"seeds": [1] * 9}, "seeds: must have 1 to 8 entries"),
    ({"seeds": [2**32]}, "seeds: each must be between -1 and 4294967295"),
    ({"seeds": [1, "x"]}, "seeds: each must be a whole number"),
    ({"task": "sing"}, "task: must be one of text2music, cover, cover-nofsq, repaint, lego, extract, complete"),
    ({"time_signature": "5"}, "time_signature: must be one of (empty), 2, 3, 4, 6"),
    ({"infer_method": "heun"}, "infer_method: must be one of ode, sde"),
    ({"caption": "x" * 2001}, "caption: must have at most 2000 characters"),
    ({"lyrics": "x" * 8001}, "lyrics: must have at most 8000 characters"),
    ({"guidance_scale": 31}, "guidance_scale: must be between 0 and 30"),
    ({"cfg_interval": [0.7, 0.2]}, "cfg_interval: start must not be above end"),
    ({"cfg_interval": [0, 1.5]}, "cfg_interval: each must be between 0 and 1"),
    ({"instrumental": 1}, "instrumental: must be true or false"),
    ({"codes": []}, "codes: must have 1 to 8 entries"),
    ({"codes": [[64_000]]}, "codes: each must be between 0 and 63999"),
    ({"codes": [[1]] * 2}, "codes: must have one list for all items or one for each of the 1"),
    ({"tracks": ["kazoo"]}, "tracks: each must be one of woodwinds, brass, fx, synth, strings, percussion, keyboard, "
     "guitar, bass, drums, backing_vocals, vocals"),
    ({"repaint_start": -601}, "repaint_start: must be between -600 and 600"),
    ({"repaint_end": 1201}, "repaint_end: must be between -600 and 1200"),
    ({"cover_strength": 1.1}, "cover_strength: must be between 0 and 1"),
    ({"return": ["everything"]}, "return: each must be one of latents, codes"),
    ({"sampler_mode": "dpm"}, "sampler_mode: must be one of euler, heun"),
    ({"velocity_norm_threshold": 11}, "velocity_norm_threshold: must be between 0 and 10"),
    ({"velocity_ema_factor": 1.1}, "velocity_ema_factor: must be between 0 and 1"),
    ({"dcw_enabled": 1}, "dcw_enabled: must be true or false"),
    ({"dcw_mode": "mid"}, "dcw_mode: must be one of low, high, double, pix"),
    ({"dcw_scaler": 2}, "dcw_scaler: must be between 0 and 1"),
    ({"dcw_high_scaler": -0.1}, "dcw_high_scaler: must be between 0 and 1"),
    ({"dcw_wavelet": "db4"}, "dcw_wavelet: must be one of haar"),
    ({"latent_shift": 11}, "latent_shift: must be between -10 and 10"),
    ({"latent_rescale": 0}, "latent_rescale: must be between 0.1 and 10"),
    ({"cover_noise_strength": 1.1}, "cover_noise_strength: must be between 0 and 1"),
    ({"repaint_mode": "bold"}, "repaint_mode: must be one of null, conservative, balanced, aggressive"),
    ({"repaint_strength": 2}, "repaint_strength: must be between 0 and 1"),
    ({"chunk_mask_mode": "none"}, "chunk_mask_mode: must be one of explicit, auto, ones"),
    ({"global_caption": "x" * 2001}, "global_caption: must have at most 2000 characters"),
    ({"fallback_duration": 9}, "fallback_duration: must be between 10 and 600"),
    ({"thinking": "yes"}, "thinking: must be true or false"),
    ({"sample_query": "x" * 2001}, "sample_query: must have at most 2000 characters"),
    ({"use_format": True}, "use_format: must be one of off, try, need"),
    ({"lm_engine": "tpu"}, "lm_engine: must be one of null, vllm, pt"),
    ({"lm_temperature": 2.1}, "lm_temperature: must be between 0 and 2"),
    ({"lm_cfg_scale": -1}, "lm_cfg_scale: must be between 0 and 10"),
    ({"lm_top_k": -1}, "lm_top_k: must be between 0 and 1000000"),
    ({"lm_top_p": 0}, "lm_top_p: must be above 0"),
    ({"lm_repetition_penalty": 0.4}, "lm_repetition_penalty: must be between 0.5 and 2"),
    ({"lm_negative_prompt": None}, "lm_negative_prompt: must be a text"),
    ({"tempo": 3}, "tempo: is not a field of a song request"),
    ({"v": 2}, "v: must be 1"),
]


@pytest.mark.parametrize(("change", "line"), BAD, ids=[f"{next(iter(c))}-{i}" for i, (c, _) in enumerate(BAD)])
def test_bad_fields_are_named_with_their_range(change, line):
    with pytest.raises(SongError) as caught:
        read_song({"kind": "song"} | change)
    assert (caught.value.status, str(caught.value)) == (400, line)


def test_every_field_has_a_bad_value_here_or_any_text_is_good():
    tried = {next(iter(change)) for change, _ in BAD}
    free = {"kind", "model", "vocal_language", "key_scale", "instruction", "use_adg", "timesteps", "sample_mode",
            "use_cot_metas", "use_cot_caption", "use_cot_language", "constrained_decoding"}
    assert set(SCHEMA["properties"]) - tried == free


def test_the_schema_s_tasks_are_the_contract_s():
    assert SCHEMA["properties"]["task"]["enum"] == list(TASKS)


def test_missing_fields_take_the_schema_s_default():
    song = read_song({"kind": "song"})
    assert (song.task, song.seeds, song.shift, song.infer_method, song.steps) == ("text2music", (-1,), 3.0, "ode", None)


def test_every_default_is_valid():
    defaults = {name: rule["default"] for name, rule in SCHEMA["properties"].items() if "default" in rule}
    assert read_song({"kind": "song"} | defaults) == read_song({"kind": "song"})


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b'{"duration": NaN}', b'{"shift": Infinity}', b"\xff"])
def test_what_is_no_json_object_is_a_400(text):
    with pytest.raises(SongError, match=r"request: must be a JSON object") as caught:
        parse_json(text)
    assert caught.value.status == 400
    assert "\n" not in caught.value.line()


def test_a_json_object_comes_through():
    assert parse_json(json.dumps({"caption": "雨 🌧"})) == {"caption": "雨 🌧"}


@pytest.mark.parametrize("codes", [
    None, [[1, 2]], [[0, 63_999.0]], [[5]] * 8, 7, "7", {}, [], [[1]] * 9, [[]], [3], [None], ["12"], [[1] * 3_001],
    [[1.5]], [[True]], [["7"]], [[-1]], [[64_000]], [[1], [2, None]], [[float("inf")]], [[10**400]],
])
def test_codes_are_taken_and_refused_as_the_schema_says(codes):
    """They are read apart from it: a validator takes a quarter of a second for as many as a request may hold."""
    body = {"kind": "song", "codes": codes, "seeds": [1] * (len(codes) if isinstance(codes, list) and codes else 1)}
    body["seeds"] = body["seeds"][:8]
    error = next(Draft202012Validator(SCHEMA["properties"]["codes"]).iter_errors(codes), None)
    if error is None:
        assert read_song(body).codes == (None if codes is None else tuple(map(tuple, codes)))
    else:
        with pytest.raises(SongError, match=r"^codes: (must|each must) ") as refused:
            read_song(body)
        assert refused.value.status == 400


def test_the_most_codes_there_can_be_never_reach_the_validator(monkeypatch):
    seen: list[dict[str, Any]] = []

    def iter_errors(body):
        seen.append(body)
        return ()

    monkeypatch.setattr(request, "_VALIDATOR", SimpleNamespace(iter_errors=iter_errors))
    codes = [[code % 64_000 for code in range(3_000)]] * 8
    assert read_song({"kind": "song", "seeds": [1] * 8, "codes": codes}).codes == tuple(map(tuple, codes))
    assert "codes" not in seen[0]
