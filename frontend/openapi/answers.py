"""What the native API answers, as JSON Schema."""

from __future__ import annotations

from typing import Any

from .operation import an_object, ref
from .schema import Json

TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
SECONDS: Json = {"type": "number", "minimum": 0}
STATUS: Json = {"type": "string", "enum": ["queued", "running", "succeeded", "failed"]}


def or_null(schema: Json) -> Json:
    """`schema` or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def a_list(items: Json) -> Json:
    """A list of `items`."""
    return {"type": "array", "items": items}


ERROR = an_object({"detail": {"type": "string", "description": "one line"}})
SUBMITTED = an_object({"job_id": TEXT, "status": STATUS, "queue_position": COUNT})
PROGRESS = an_object({
    "phase": TEXT, "done": COUNT, "total": COUNT,
    "percent": {"type": "integer", "minimum": 0, "maximum": 99, "description": "of the whole song"},
})
_METAS = {
    "bpm": {"type": ["integer", "string"]}, "duration": {"type": ["number", "string"]}, "genres": TEXT,
    "keyscale": TEXT, "timesignature": TEXT,
}
_TEXTS = {"caption": TEXT, "lyrics": TEXT, "vocal_language": TEXT}
RESULT = an_object({
    "first_audio_path": {**TEXT, "description": "relative URL"}, "second_audio_path": or_null(TEXT),
    "audio_paths": a_list(TEXT), "generation_info": TEXT, "status_message": TEXT,
    "seed_value": {**TEXT, "description": "one for each audio, comma-separated"},
    "metas": an_object(_METAS | _TEXTS, required=tuple(_METAS), text="`N/A` where it is not known"),
    "bpm": or_null({"type": "integer"}), "duration": or_null({"type": "number"}), "keyscale": or_null(TEXT),
    "timesignature": or_null(TEXT), "genres": or_null(TEXT), "lm_model": or_null(TEXT), "dit_model": TEXT,
})
JOB = an_object({
    "job_id": TEXT, "status": STATUS, "created_at": SECONDS, "started_at": or_null(SECONDS),
    "finished_at": or_null(SECONDS), "queue_position": COUNT, "eta_seconds": or_null(SECONDS),
    "avg_job_seconds": SECONDS, "result": or_null(ref("Result")), "error": or_null(TEXT), "error_code": or_null(TEXT),
    "progress": or_null(ref("Progress")),
})
JOBS = an_object({"jobs": a_list(ref("Job"))})
MODELS = an_object({
    "models": a_list(an_object({
        "name": TEXT, "is_default": {"type": "boolean"}, "aliases": a_list(TEXT), "tasks": a_list(TEXT),
        "audio_is_noise": {"type": "boolean"},
    })),
    "default_model": or_null(TEXT),
})
HEALTH = an_object({"status": TEXT, "service": TEXT, "version": TEXT})
STATE = an_object({"status": TEXT})
LM: Json = {"type": ["string", "null"], "enum": ["ready", "loading", "none", None], "description": "the 5 Hz LM"}
READY = an_object({"status": TEXT, "models": a_list(TEXT), "lm": LM})
NOT_READY = an_object({"status": TEXT, "missing": a_list(TEXT), "lm": LM})
WRITTEN = an_object({
    "caption": or_null(TEXT), "lyrics": or_null(TEXT), "bpm": or_null({"type": "integer"}), "key_scale": or_null(TEXT),
    "time_signature": or_null(TEXT), "duration": or_null({"type": "number"}), "vocal_language": or_null(TEXT),
})
TASK = an_object({"task_id": TEXT, "status": STATUS, "queue_position": COUNT})
TASK_STATE = an_object({
    "task_id": TEXT,
    "status": {"type": "integer", "enum": [0, 1, 2], "description": "waits or runs, succeeded, failed"},
    "result": {**TEXT, "description": "JSON text: a list, one object for each audio"},
})
STATS = an_object({
    "jobs": an_object({"queued": COUNT, "running": COUNT}), "queue_size": COUNT, "queue_maxsize": COUNT,
    "avg_job_seconds": SECONDS,
})


def wrapped(data: Json) -> Json:
    """`data` in the wrapper of upstream's later routes."""
    nothing: dict[str, Any] = {"type": "null"}
    return an_object({
        "data": data, "code": {"const": 200}, "error": nothing, "timestamp": {"type": "integer"}, "extra": nothing})


SCHEMAS = {"Error": ERROR, "Job": JOB, "Result": RESULT, "Progress": PROGRESS}
