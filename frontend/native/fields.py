"""The fields of POST /v1/music/generate: one table of names, places, readers and defaults.

The top level of the body beats the nested metadata object, field by field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from frontend import coerce
from frontend.coerce import Reader
from frontend.fields import Field, Fields, Level, read_fields, spellings

TASKS = ("text2music", "cover", "repaint", "lego", "extract", "complete")
NESTED_OBJECTS = ("metas", "meta", "metadata", "user_metadata", "userMetadata")


def _field(names: str, read: Reader, default: Any, *, nested: bool = False) -> Field:
    return Field(spellings(names), read, default, nested)


def _nested(names: str, read: Reader, default: Any) -> Field:
    return _field(names, read, default, nested=True)


TABLE: tuple[Field, ...] = (
    _field("caption prompt", coerce.text(2000), ""),
    _field("lyrics", coerce.text(8000), ""),
    _field("thinking", coerce.flag, False),
    _nested("vocal_language vocalLanguage", coerce.language, "en"),
    _field("audio_format", coerce.choice("mp3", "wav", "flac"), "mp3"),
    _nested("sample_mode", coerce.flag, False),
    _nested("sample_query sampleQuery description desc", coerce.text(2000, trim=True), ""),
    _nested("use_format useFormat format", coerce.flag, False),
    _nested("model dit_model ditModel", coerce.text(200, trim=True), None),
    _nested("bpm", coerce.whole(30, 300), None),
    _nested("key_scale keyscale keyScale", coerce.key_scale, ""),
    _nested("time_signature timesignature timeSignature", coerce.time_signature, ""),
    _nested("audio_duration duration audioDuration target_duration targetDuration", coerce.duration, None),
    _nested("audio_code_string audioCodeString", coerce.codes, ()),
    _nested("inference_steps", coerce.whole(1, 200), None),
    _nested("guidance_scale", coerce.number(0, 30), 7.0),
    _nested("use_random_seed", coerce.flag, True),
    _field("seed", coerce.seeds, (-1,)),
    _field("batch_size", coerce.whole(1, 8), 2),
    _nested("shift", coerce.number(1, 5), 3.0),
    _nested("infer_method", coerce.choice("ode", "sde"), "ode"),
    _field("timesteps", coerce.timesteps, None),
    _field("use_adg", coerce.flag, False),
    _field("cfg_interval_start", coerce.number(0, 1), 0.0),
    _field("cfg_interval_end", coerce.number(0, 1), 1.0),
    _nested("use_tiled_decode", coerce.flag, True),
    _field("lm_model_path", coerce.text(200, trim=True), None),
    _field("lm_backend", coerce.choice("vllm", "pt"), "vllm"),
    _field("lm_temperature", coerce.number(0, 2), 0.85),
    _field("lm_cfg_scale", coerce.number(0, 10), 2.5),
    _field("lm_negative_prompt", coerce.text(2000), "NO USER INPUT"),
    _field("lm_top_k", coerce.whole_from(0), None),
    _field("lm_top_p", coerce.number_above(0), 0.9),
    _field("lm_repetition_penalty", coerce.number(0.5, 2), 1.0),
    _nested("use_cot_caption cot_caption cot-caption", coerce.flag, True),
    _nested("use_cot_language cot_language cot-language", coerce.flag, True),
    _nested("constrained_decoding constrainedDecoding constrained", coerce.flag, True),
    _nested("constrained_decoding_debug", coerce.flag, False),
    _nested("is_format_caption", coerce.flag, False),
    _field("reference_audio_path", coerce.text(4096, trim=True), None),
    _field("src_audio_path", coerce.text(4096, trim=True), None),
    _nested("task_type", coerce.choice(*TASKS), "text2music"),
    _field("instruction", coerce.text(500), ""),
    _nested("repainting_start", coerce.number_from(-600), 0.0),
    _nested("repainting_end", coerce.number_from(-1), None),
    _nested("audio_cover_strength", coerce.number(0, 1), 1.0),
    # Not of the documents: which tracks lego, extract and complete are about.
    _nested("track_name", coerce.tracks, ()),
    _nested("track_classes", coerce.tracks, ()),
)
NAMES = frozenset(name for entry in TABLE for name in entry.names) | frozenset(NESTED_OBJECTS)


def read(body: Mapping[str, object]) -> Fields:
    """Every field of TABLE out of `body`; a value outside its range is a 400 that names the field and the range."""
    return read_fields(TABLE, (Level(body), Level(nested_metadata(body))))


def nested_metadata(body: Mapping[str, object]) -> Mapping[str, object]:
    """The first container of metadata that is not empty: an object, or text holding one; anything else is ignored."""
    found = next((body[name] for name in NESTED_OBJECTS if body.get(name)), None)
    if isinstance(found, str) and found.strip().startswith("{"):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return {}
    return found if isinstance(found, dict) else {}
