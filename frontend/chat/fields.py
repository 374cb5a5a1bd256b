"""The fields of a chat request besides its messages: flat ones first, then those of `audio_config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from frontend import coerce, metadata
from frontend.audio.formats import DEFAULT_FORMAT
from frontend.coerce import Reader
from frontend.errors import RequestError
from frontend.fields import Field, Fields, Level, read_fields, spellings
from frontend.native.analysis import ANALYSES
from frontend.native.fields import TABLE as NATIVE
from frontend.unbuilt import TABLE as UNBUILT
from frontend.unbuilt import only_neutral, read_built

DEFAULT_MODEL = "acemusic/acestep-v1.5-turbo"
# What is called the same here and in the native API: names, ranges and defaults are those of its table.
SHARED = (
    "lyrics", "bpm", "key_scale", "time_signature", "vocal_language", "thinking", "use_cot_caption", "use_cot_language",
    "sample_mode", "seed", "task_type", "repainting_start", "repainting_end", "audio_cover_strength", "guidance_scale",
    "audio_code_string", "inference_steps", "shift", "infer_method", "timesteps", "use_adg", "cfg_interval_start",
    "cfg_interval_end", "instruction", "track_name", "track_classes", "lm_cfg_scale", "lm_negative_prompt",
    "lm_repetition_penalty", "lm_model_path", "lm_backend", "constrained_decoding", "sampler_mode",
    "velocity_norm_threshold", "velocity_ema_factor", "dcw_enabled", "dcw_mode", "dcw_scaler", "dcw_high_scaler",
    "dcw_wavelet", "latent_shift", "latent_rescale", "repaint_mode", "repaint_strength",
    "repaint_latent_crossfade_frames", "repaint_wav_crossfade_sec", "chunk_mask_mode", "cover_noise_strength",
    "global_caption",
)
# The native API's names of what is called otherwise here.
NATIVE_NAMES = {
    "duration": "audio_duration", "temperature": "lm_temperature", "top_p": "lm_top_p", "top_k": "lm_top_k",
}
_BY_NAME = {entry.name: entry for entry in NATIVE}


def _field(names: str, read: Reader, default: Any, text: str, *, nested: bool = True) -> Field:
    return Field(spellings(names), read, default, nested, text)


TABLE: tuple[Field, ...] = (
    _field("model", coerce.text(200, trim=True), DEFAULT_MODEL,
           "its last part names a model, any other is the default one; echoed", nested=False),
    _field("stream", coerce.flag, False, "server-sent events", nested=False),
    _field("n", coerce.whole(1, 8), 1, "choices, each a song of its own; above 1 without `batch_size`", nested=False),
    _field("temperature lm_temperature lmTemperature", _BY_NAME["lm_temperature"].read, 0.85,
           "of the 5 Hz LM; 0 picks the likeliest"),
    _field("top_p lm_top_p lmTopP", _BY_NAME["lm_top_p"].read, 0.9, "of the 5 Hz LM; 1 and more is off"),
    _field("top_k lm_top_k lmTopK", _BY_NAME["lm_top_k"].read, None, "of the 5 Hz LM; 0 is off"),
    _field("duration audio_duration audioDuration", metadata.duration, None, "seconds"),
    _field("instrumental", coerce.flag, False, "no voice"),
    _field("use_cot_metas", coerce.flag, True, "the 5 Hz LM fills in missing metadata"),
    _field("use_format", coerce.flag, True, "the 5 Hz LM improves caption and lyrics"),
    _field("batch_size", _BY_NAME["batch_size"].read, 1, "songs in one choice; above 1 without `n`"),
    _field("audio_format audioFormat format", _BY_NAME["audio_format"].read, DEFAULT_FORMAT,
           "format of the files; `format` in `audio_config` alone"),
    *(replace(_BY_NAME[name], nested=True) for name in SHARED),
)
# Of the object `audio`: with it the answer is as OpenAI's own.
AUDIO = (Field(("format",), _BY_NAME["audio_format"].read, None, help="format of the files"),)
CONFIGS = ("audio_config", "audioConfig")


# Fields that ask the native API for something else than a song, which no chat message can hold.
REFUSED: tuple[Field, ...] = tuple(
    only_neutral(analysis.field, coerce.flag, False, "false", _BY_NAME[analysis.field].help,
                 "is a field of the native API alone") for analysis in ANALYSES)


def read(body: Mapping[str, object]) -> Fields:
    """Every field of TABLE out of `body`; a value outside its range is a 400 that names the field and the range."""
    # A flat `format` is the native API's other name of use_format: too ambiguous to be read as anything.
    flat = {name: value for name, value in body.items() if name != "format"}
    levels = (Level(flat), Level(object_at(body, *CONFIGS), "audio_config."))
    return _with_openai_format(read_built(TABLE, levels, refused=(*UNBUILT, *REFUSED)), read_openai_audio(body))


def read_openai_audio(body: Mapping[str, object]) -> Fields:
    """The fields of AUDIO. Errors: RequestError 400."""
    return read_fields(AUDIO, (Level(object_at(body, "audio"), "audio."),))


def object_at(body: Mapping[str, object], *names: str) -> Mapping[str, object]:
    """The first object by one of `names`, empty when there is none. Errors: RequestError 400 for another value."""
    for name in given(body, *names)[:1]:
        value = body[name]
        if not isinstance(value, Mapping):
            raise RequestError(400, f"{name}: must be an object")
        return value
    return {}


def given(body: Mapping[str, object], *names: str) -> list[str]:
    """Those of the names of an object by which something is sent."""
    return [name for name in names if body.get(name) not in (None, "", [])]


def _with_openai_format(fields: Fields, audio: Fields) -> Fields:
    """`fields` with the format that `audio` has, if any. Errors: RequestError 400 when they have another."""
    wanted, called = audio["format"], audio.called("format")
    if wanted is None:
        return fields
    if "audio_format" in fields.sent and fields["audio_format"] != wanted:
        raise RequestError(400, f"{called}: must be that of {fields.called('audio_format')}, or the only one")
    values = {**fields.values, "audio_format": wanted}
    return replace(fields, values=values, sent={**fields.sent, "audio_format": called})
