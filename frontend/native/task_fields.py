"""The fields of /release_task and /format_input: those of /v1/music/generate under more names and in more places."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from frontend.fields import Fields, Level, read_fields

from .fields import TABLE, nested_metadata

_MORE_NAMES = {
    "model": ("model_name", "modelName"), "key_scale": ("key",), "vocal_language": ("language",),
    "lm_temperature": ("temperature",), "audio_cover_strength": ("cover_strength", "coverStrength"),
    "audio_code_string": ("audio_codes",), "track_classes": ("instruments",),
    "reference_audio_path": ("ref_audio_path", "refAudioPath"),
    "src_audio_path": ("ctx_audio_path", "ctxAudioPath", "sourceAudioPath"),
}
TASK_TABLE = tuple(
    replace(entry, names=(*entry.names, *_MORE_NAMES.get(entry.name, ())), nested=True) for entry in TABLE)


def read_task(body: Mapping[str, object]) -> Fields:
    """Every field out of `body`, then out of its `param_obj`, then out of its metadata. Errors: RequestError 400."""
    return read_fields(TASK_TABLE, (Level(body), Level(_param_obj(body)), Level(nested_metadata(body))))


def _param_obj(body: Mapping[str, object]) -> Mapping[str, object]:
    """An object, or text that holds one; anything else is ignored, as in the reference."""
    found = body.get("param_obj")
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return {}
    return found if isinstance(found, dict) else {}
