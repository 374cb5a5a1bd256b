"""The chat API's fields: places, names, coercion, ranges, and the canonical request they become."""

# mypy: allow-untyped-calls

import json
from pathlib import Path

import jsonschema
import pytest

from contract.tasks import TASKS
from frontend.chat.fields import DEFAULT_MODEL, TABLE, read
from frontend.chat.messages import NO_INPUT, deciding_message
from frontend.chat.request import chat_work, read_wish
from frontend.errors import RequestError
from frontend.fields import camel
from frontend.jobs.job import Upload
from frontend.uploads import Files
from tests.test_native_fields import BOTH, WITH_LM

SCHEMA = json.loads(
    (Path(__file__).parent.parent / "model_repository/acestep/1/request.schema.json").read_text())
TAGGED = "<prompt>x</prompt><lyrics>la</lyrics>"
SOURCE = {"src_audio": Upload("a", 20 * 48_000)}


def work(text=TAGGED, uploads=None, catalogue=BOTH, **body):
    fields = read({"messages": [{"role": "user", "content": text}], **body})
    wish = read_wish(fields, deciding_message([{"role": "user", "content": text}]).text)
    return chat_work(fields, wish, Files(uploads or {}), catalogue, lambda: 7)


def song(text=TAGGED, uploads=None, catalogue=BOTH, **body):
    made = work(text, uploads, catalogue, **body)
    jsonschema.validate(made.song, SCHEMA)
    assert set(made.song) == set(SCHEMA["properties"])
    return made.song


def refusal(text=TAGGED, uploads=None, **body):
    with pytest.raises(RequestError) as error:
        work(text, uploads, **body)
    assert error.value.status == 400
    assert "\n" not in error.value.detail
    return error.value.detail


def test_defaults_are_the_documents():
    fields = read({})
    documented = {
        "model": "acemusic/acestep-v1.5-turbo", "stream": False, "temperature": 0.85, "top_p": 0.9, "lyrics": "",
        "duration": None, "bpm": None, "vocal_language": "en", "instrumental": False, "thinking": False,
        "use_cot_metas": True, "use_cot_caption": True, "use_cot_language": True, "use_format": True, "batch_size": 1,
        "audio_format": "mp3", "task_type": "text2music", "top_k": None, "sample_mode": False,
    }
    assert {name: fields[name] for name in documented} == documented
    made = work()
    assert (made.audio_format, made.api) == ("mp3", "chat")
    wanted = {"model": "tiny-turbo", "caption": "x", "lyrics": "la", "seeds": [7], "duration": None,
              "task": "text2music", "instrumental": False, "steps": None, "timesteps": None}
    assert {name: song()[name] for name in wanted} == wanted


FIELDS = [  # field, value, name in the pipeline's request, what stands there
    ("lyrics", "new words", "lyrics", "new words"),
    ("duration", 30, "duration", 30.0), ("duration", "30.5", "duration", 30.5), ("duration", 0, "duration", None),
    ("duration", -1, "duration", None), ("duration", 10, "duration", 10.0), ("duration", 600, "duration", 600.0),
    ("bpm", 120, "bpm", 120), ("bpm", "120", "bpm", 120), ("bpm", 120.0, "bpm", 120), ("bpm", 30, "bpm", 30),
    ("key_scale", "Am", "key_scale", "A minor"), ("time_signature", "6/8", "time_signature", "6"),
    ("time_signature", 4, "time_signature", "4"), ("vocal_language", "ZH", "vocal_language", "zh"),
    ("instrumental", True, "instrumental", True), ("instrumental", "yes", "instrumental", True),
    ("instrumental", False, "instrumental", False),
    ("seed", 5, "seeds", [5]), ("seed", "5", "seeds", [5]), ("seed", -1, "seeds", [7]), ("seed", 0, "seeds", [0]),
    ("guidance_scale", 3, "guidance_scale", 3.0), ("inference_steps", 4, "steps", 4), ("shift", 2, "shift", 2.0),
    ("infer_method", "sde", "infer_method", "sde"), ("timesteps", "0.9,0.5", "timesteps", [0.9, 0.5]),
    ("timesteps", [0.9, 0.5, 0], "timesteps", [0.9, 0.5, 0.0]), ("use_adg", True, "use_adg", True),
    ("instruction", "play", "instruction", "play"), ("sampler_mode", "heun", "sampler_mode", "heun"),
    ("velocity_norm_threshold", "2", "velocity_norm_threshold", 2.0),
    ("velocity_ema_factor", 0.1, "velocity_ema_factor", 0.1), ("dcw_enabled", True, "dcw_enabled", True),
    ("dcw_mode", "low", "dcw_mode", "low"), ("dcw_scaler", 0.1, "dcw_scaler", 0.1),
    ("dcw_high_scaler", 0.1, "dcw_high_scaler", 0.1), ("dcw_wavelet", "haar", "dcw_wavelet", "haar"),
    ("latent_shift", -1, "latent_shift", -1.0), ("latent_rescale", 0.5, "latent_rescale", 0.5),
    ("repaint_mode", "balanced", "repaint_mode", "balanced"), ("repaint_strength", 1, "repaint_strength", 1.0),
    ("chunk_mask_mode", "auto", "chunk_mask_mode", "auto"),
    ("cover_noise_strength", 0.5, "cover_noise_strength", 0.5), ("global_caption", "slow", "global_caption", "slow"),
]


@pytest.mark.parametrize(("field", "value", "name", "expected"), FIELDS)
def test_every_field_reaches_the_pipeline_from_every_place(field, value, name, expected):
    bodies = [{field: value}, {camel(field): value}, {"audio_config": {field: value}},
              {"audioConfig": {camel(field): value}}]
    assert [song(**body)[name] for body in bodies] == [expected] * 4


@pytest.mark.parametrize(("field", "value"), [("duration", 20), ("bpm", 90), ("instrumental", True), ("seed", 3)])
def test_a_flat_field_wins_over_audio_config(field, value):
    other = {"duration": 50, "bpm": 200, "instrumental": False, "seed": 9}
    agreed = song(**{field: value, "audio_config": other | {field: value}})
    assert song(**{field: value, "audio_config": other}) == agreed


def test_null_and_blank_mean_the_default():
    assert song(**{entry.name: None for entry in TABLE}) == song()
    assert song(**{entry.name: " " for entry in TABLE}) == song()
    assert song(audio_config=None) == song(audio_config={}) == song(audio_config={"bpm": None}) == song()
    assert song(audio_config="", audioConfig={}) == song()
    assert song(audio_config=None, audioConfig={"bpm": 90}) == song(bpm=90)


@pytest.mark.parametrize(("place", "audio_format"), [
    ({"audio_config": {"format": "FLAC"}}, "flac"), ({"audio_format": "wav"}, "wav"), ({"audioFormat": "wav"}, "wav"),
    ({"format": "flac"}, "mp3"), ({"format": True}, "mp3"), ({"audio_config": {"format": ""}}, "mp3")])
def test_the_format_of_the_file(place, audio_format):
    assert work(**place).audio_format == audio_format


@pytest.mark.parametrize(("body", "seeds"), [
    ({"batch_size": 3}, [7, 7, 7]), ({"batch_size": 3, "seed": 5}, [5, 6, 7]),
    ({"batch_size": 3, "seed": "1,2,3"}, [1, 2, 3]), ({"batch_size": 2, "seed": "1"}, [1, 2]),
    ({"batch_size": 3, "seed": [1, 2]}, [1, 2, 7]), ({"batch_size": 8, "seed": -1}, [7] * 8), ({"seed": "1,2"}, [1])])
def test_seeds_of_a_batch(body, seeds):
    assert song(**body)["seeds"] == seeds


@pytest.mark.parametrize(("model", "name"), [
    (DEFAULT_MODEL, "tiny-turbo"), ("tiny-base", "tiny-base"), ("acemusic/tiny-base", "tiny-base"),
    ("a/b/tiny-base", "tiny-base"), ("gpt-4o", "tiny-turbo"), (5, "tiny-turbo"), ("", "tiny-turbo"),
    ("acemusic/acestep-v15-turbo", "tiny-turbo")])
def test_the_last_part_of_the_model_selects_and_anything_else_is_the_default(model, name):
    assert song(model=model)["model"] == name
    assert read({"model": model})["model"] == (str(model) or DEFAULT_MODEL)


@pytest.mark.parametrize(("text", "body", "instrumental"), [
    (TAGGED, {}, False), (TAGGED, {"instrumental": True}, True),
    ("<prompt>x</prompt>", {}, True), ("<prompt>x</prompt>", {"instrumental": False}, False),
    ("<prompt>x</prompt>", {"audio_config": {"instrumental": False}}, False),
    ("<prompt>x</prompt>", {"instrumental": None}, True),
    ("<prompt>x</prompt>", {"lyrics": "la"}, False),
    ("<prompt>x</prompt><lyrics>[inst]</lyrics>", {}, True),
    ("<prompt>x</prompt><lyrics>[Instrumental]</lyrics>", {"instrumental": False}, True),
    ("[inst]", {}, True), ("[Verse]\nla", {}, False), ("x", {"lyrics": "[inst]"}, True), ("x", {"lyrics": "la"}, False),
])
def test_instrumental(text, body, instrumental):
    assert song(text, **body)["instrumental"] is instrumental


def test_text_beside_the_lyrics_field_is_the_prompt():
    made = song("a slow rock song", lyrics="la la")
    assert (made["caption"], made["lyrics"]) == ("a slow rock song", "la la")


@pytest.mark.parametrize("task", ["cover", "repaint"])
def test_text_beside_a_source_is_the_prompt(task):
    made = song("make it jazz", SOURCE, task_type=task, audio_cover_strength=0.5, repainting_start=2, repainting_end=5)
    assert (made["caption"], made["task"], made["cover_strength"]) == ("make it jazz", task, 0.5)
    assert (made["repaint_start"], made["repaint_end"]) == ((2.0, 5.0) if task == "repaint" else (0.0, None))
    assert work("make it jazz", SOURCE, task_type=task).uploads == SOURCE
    assert song("", SOURCE, task_type=task)["caption"] == ""
    assert not song("<prompt>make it jazz</prompt>", SOURCE, task_type=task)["instrumental"], "the source may be sung"


def test_audio_codes_and_tracks():
    codes = "<|audio_code_5|>" * 50
    for name in ("audio_code_string", "audio_codes", "audioCodes"):
        assert song(**{name: codes}, thinking=True)["codes"] == [[5] * 50]
    assert song(task_type="lego", uploads=SOURCE, model="tiny-base", track_name="drums")["tracks"] == ["drums"]


LM = "needs the 5 Hz LM, which is not loaded (LM=none)"
REFUSED = [
    ({"duration": 9}, "duration: must be between 10 and 600"),
    ({"duration": "long"}, "duration: must be a number"),
    ({"duration": 601}, "duration: must be between 10 and 600"),
    ({"audioDuration": 601}, "audioDuration: must be between 10 and 600"),
    ({"audio_config": {"duration": 9}}, "audio_config.duration: must be between 10 and 600"),
    ({"audio_config": {"format": "ogg"}}, "audio_config.format: must be one of mp3, wav, flac, opus, aac, wav32"),
    ({"audio_config": "x"}, "audio_config: must be an object"),
    ({"bpm": 120.5}, "bpm: must be a whole number"), ({"bpm": 29}, "bpm: must be between 30 and 300"),
    ({"bpm": [1]}, "bpm: must be a whole number"), ({"lyrics": {}}, "lyrics: must be text"),
    ({"batch_size": 9}, "batch_size: must be between 1 and 8"),
    ({"seed": 2**63}, "seed: must be between 0 and 9223372036854775807, or -1 for a random seed"),
    ({"temperature": 2.1}, "temperature: must be between 0 and 2"), ({"top_p": 0}, "top_p: must be above 0"),
    ({"top_k": -1}, "top_k: must be at least 0"), ({"lmTopK": -1}, "lmTopK: must be at least 0"),
    ({"model": "x" * 201}, "model: must have at most 200 characters"), ({"model": {}}, "model: must be text"),
    ({"stream": {}}, "stream: must be true or false"),
    ({"task_type": "sing"}, f"task_type: must be one of {', '.join(TASKS)}"),
    ({"task_type": "cover"}, "messages: cover needs the song that it follows, as input_audio"),
    ({"inference_steps": 201}, "inference_steps: must be between 1 and 200"),
    ({"audio_config": {"inferenceSteps": 201}}, "audio_config.inferenceSteps: must be between 1 and 200"),
    ({"guidance_scale": 31}, "guidance_scale: must be between 0 and 30"),
    ({"audio_cover_strength": 1.1}, "audio_cover_strength: must be between 0 and 1"),
    ({"repainting_start": -601}, "repainting_start: must be at least -600"),
    ({"vocal_language": "xx"}, None), ({"key_scale": "H"}, None),
    ({"thinking": True}, f"thinking: {LM}"),
    ({"sample_mode": True}, f"sample_mode: {LM}"), ({"sampleMode": 1}, f"sampleMode: {LM}"),
    ({"lyrics": "x" * 8001}, "lyrics: must have at most 8000 characters"),
]


@pytest.mark.parametrize(("body", "line"), REFUSED)
def test_a_bad_value_is_a_line_that_names_its_field(body, line):
    said = refusal(**body)
    assert said == line if line else said.startswith(f"{next(iter(body))}: ")


def test_a_task_that_the_model_cannot_do():
    line = "task_type: lego is not a task of tiny-turbo; these models can: tiny-base"
    assert refusal(uploads=SOURCE, task_type="lego") == line


@pytest.mark.parametrize(("text", "line"), [
    ("", NO_INPUT), ("   ", NO_INPUT), ("<prompt></prompt>", NO_INPUT),
    (f"<prompt>{'x' * 2001}</prompt>", "messages: the prompt must have at most 2000 characters"),
    (f"<lyrics>{'x' * 8001}</lyrics>", "messages: the lyrics must have at most 8000 characters"),
    ("x" * 2001, "messages: the query must have at most 2000 characters"),
    ("<prompt>\ud800</prompt>", "messages: the prompt must be valid Unicode text"),
    ("a happy song", f"messages: natural language {LM}; use <prompt> and <lyrics> tags"),
])
def test_texts_that_cannot_be_served(text, line):
    assert refusal(text) == line


def test_what_a_song_cannot_be_made_of():
    codes = "<|audio_code_5|>" * 50
    assert refusal("", {"reference_audio": Upload("a", 48_000)}) == NO_INPUT
    assert refusal("", audio_code_string=codes) == NO_INPUT, "codes count with thinking alone"
    line = "messages: cover needs the song that it follows, as input_audio"
    assert refusal(task_type="cover", audio_code_string=codes) == line
    assert song("", audio_code_string=codes, thinking=True)["codes"] == [[5] * 50]


def test_what_the_lm_is_told():
    wanted = {"use_format": "try", "use_cot_metas": True, "use_cot_caption": True, "lm_temperature": 0.85,
              "lm_top_p": 0.9, "sample_query": "", "vocal_language": None}
    assert {name: song()[name] for name in wanted} == wanted
    told = song("a happy song", catalogue=WITH_LM, temperature=0, top_p=1, top_k=5, use_format=False,
                use_cot_metas=False, vocal_language="zh", instrumental=True)
    wanted = {"use_format": "off", "use_cot_metas": False, "lm_temperature": 0.0, "lm_top_p": 1.0, "lm_top_k": 5,
              "sample_query": "a happy song", "vocal_language": "zh", "instrumental": True}
    assert {name: told[name] for name in wanted} == wanted


LM_FIELDS = [  # field, value, name in the pipeline's request, what stands there
    ("thinking", True, "thinking", True), ("sample_mode", True, "sample_mode", True),
    ("use_format", False, "use_format", "off"), ("use_cot_metas", False, "use_cot_metas", False),
    ("use_cot_caption", "no", "use_cot_caption", False), ("use_cot_language", 0, "use_cot_language", False),
    ("temperature", 0, "lm_temperature", 0.0), ("lm_temperature", 1.5, "lm_temperature", 1.5),
    ("top_p", 0.5, "lm_top_p", 0.5), ("lm_top_p", 1, "lm_top_p", 1.0), ("top_k", 5, "lm_top_k", 5),
    ("lm_top_k", "7", "lm_top_k", 7), ("lm_cfg_scale", 1, "lm_cfg_scale", 1.0),
    ("lm_negative_prompt", "drums", "lm_negative_prompt", "drums"),
    ("lm_repetition_penalty", 1.25, "lm_repetition_penalty", 1.25), ("lm_backend", "pt", "lm_engine", "pt"),
    ("constrained_decoding", False, "constrained_decoding", False),
]


@pytest.mark.parametrize(("field", "value", "name", "expected"), LM_FIELDS)
def test_every_field_of_the_lm_reaches_it_from_every_place(field, value, name, expected):
    plain = song(catalogue=WITH_LM)
    for body in ({field: value}, {camel(field): value}, {"audio_config": {field: value}}):
        assert plain[name] != song(catalogue=WITH_LM, **body)[name] == expected


def test_natural_language_is_a_wish_whose_words_count():
    made = song("a soft Bengali love song", catalogue=WITH_LM, thinking=True)
    wanted = {"sample_query": "a soft Bengali love song", "caption": "", "lyrics": "", "thinking": True,
              "vocal_language": "bn", "instrumental": False, "lm_engine": "vllm"}
    assert {name: made[name] for name in wanted} == wanted
    assert song("instrumental jazz", catalogue=WITH_LM)["instrumental"]
    sung = song("a pop song with an instrumental bridge", catalogue=WITH_LM, instrumental=False)
    assert not sung["instrumental"], "the client has said so"
    asked = song("<prompt>a waltz</prompt><lyrics>la</lyrics>", catalogue=WITH_LM, sample_mode=True)
    assert (asked["sample_query"], asked["lyrics"], asked["caption"]) == ("a waltz", "la", "")
    assert song("", catalogue=WITH_LM, sample_mode=True)["sample_query"] == ""


@pytest.mark.parametrize("task", ["cover", "repaint"])
def test_what_follows_a_source_asks_nothing_of_the_lm(task):
    made = work("make it jazz", SOURCE, WITH_LM, task_type=task)
    assert (made.song["use_format"], made.song["sample_query"], made.notes) == ("off", "", ())
    for catalogue in (BOTH, WITH_LM):
        told = work("make it jazz", SOURCE, catalogue, task_type=task, sample_mode=True)
        assert (told.song["caption"], told.song["sample_mode"]) == ("make it jazz", False)
        assert told.notes == (f"sample_mode was not used: {task} uses no LM",)


def test_an_lm_that_is_not_loaded_is_refused_by_name():
    assert refusal(catalogue=WITH_LM, lm_model_path="other").startswith("lm_model_path: must be acestep-5Hz-lm-tiny")


def test_every_name_is_one_fields_alone():
    names = [name for entry in TABLE for name in entry.names]
    assert len(names) == len(set(names))
