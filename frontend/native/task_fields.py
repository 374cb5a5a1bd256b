"""The fields of /release_task and /format_input: those of /v1/music/generate under more names and in more places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from frontend.fields import Fields, Level, first_of, object_in, spellings
from frontend.unbuilt import read_built

from .fields import TABLE, nested_metadata

_PARAMETERS = spellings("param_obj")
_MORE_NAMES = {
    "model": "model_name", "key_scale": "key", "vocal_language": "language", "lm_temperature": "temperature",
    "audio_cover_strength": "cover_strength", "track_classes": "instruments",
    "reference_audio_path": "ref_audio_path", "src_audio_path": "ctx_audio_path ctxAudioPath sourceAudioPath",
}
TASK_TABLE = tuple(
    replace(entry, names=(*entry.names, *spellings(_MORE_NAMES.get(entry.name, ""))), nested=True) for entry in TABLE)


def read_task(body: Mapping[str, object]) -> Fields:
    """Every field out of `body`, then out of its `param_obj`, then out of its metadata. Errors: RequestError 400."""
    _, parameters = first_of(_PARAMETERS, body)
    levels = (Level(body), Level(object_in(parameters)), Level(nested_metadata(body)))
    return read_built(TASK_TABLE, levels)
