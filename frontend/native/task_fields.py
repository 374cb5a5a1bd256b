"""The fields of /release_task and /format_input: those of /v1/music/generate under more names and in more places."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from frontend.fields import Field, Fields, spellings

from .fields import TABLE, read_levels

_MOST_TASKS = 100
_PARAMETERS = spellings("param_obj")
_MORE_NAMES = {
    "model": "model_name", "key_scale": "key", "lm_temperature": "temperature",
    "audio_cover_strength": "cover_strength",
    "reference_audio_path": "ref_audio_path", "src_audio_path": "ctx_audio_path ctxAudioPath sourceAudioPath",
}
TASK_TABLE = tuple(
    replace(entry, names=(*entry.names, *spellings(_MORE_NAMES.get(entry.name, ""))), nested=True) for entry in TABLE)


def read_ids(value: object) -> Sequence[str]:
    """A list of ids, or a text that holds one. Errors: ValueError."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value) or len(value) > _MOST_TASKS:
        raise ValueError(f"must be a list of at most {_MOST_TASKS} task ids")
    return value


TASK_IDS = Field(spellings("task_id_list"), read_ids, None)


def read_task(body: Mapping[str, object]) -> Fields:
    """Every field out of `body`, then out of its `param_obj`, then out of its metadata. Errors: RequestError 400."""
    return read_levels(TASK_TABLE, body, _PARAMETERS)
