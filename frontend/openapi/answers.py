"""What the native API answers, as JSON Schema."""

from __future__ import annotations

from typing import Any

from .operation import an_object, ref
from .schema import Json

TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
SECONDS: Json = {"type": "number", "minimum": 0}
STATUS: Json = {"type": "string", "enum": ["queued", "running", "succeeded", "failed"]}
# Why a job has failed, for programs; `error` says the same to people.
ERROR_CODES = {
    "invalid_request": "the models cannot make what was asked for; the same again fails again",
    "generation_failed": "a fault on each of three attempts, or a part that stayed away",
    "cancelled": "a client cancelled the job, or a chat client left",
    "lost": "the process that made the song died on each of three attempts",
    "expired": "a chat request passed its deadline",
}


def or_null(schema: Json) -> Json:
    """`schema` or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def a_list(items: Json) -> Json:
    """A list of `items`."""
    return {"type": "array", "items": items}


def _said(schema: Json, text: str) -> Json:
    """`schema` with a description."""
    return {**schema, "description": text}


ERROR = an_object({"detail": {"type": "string", "description": "one line"}})
SUBMITTED = an_object({"job_id": TEXT, "status": STATUS, "queue_position": COUNT})
PROGRESS = an_object({
    "phase": {"type": "string", "enum": ["plan", "codes", "encode", "condition", "denoise", "decode", "write"],
              "description": "what is done now"},
    "done": _said(COUNT, "parts of the phase that are done"), "total": _said(COUNT, "parts of the phase"),
    "percent": {"type": "integer", "minimum": 0, "maximum": 99, "description": "of the whole song"},
})
_METAS = {
    "bpm": {"type": ["integer", "string"]}, "duration": {"type": ["number", "string"]}, "genres": TEXT,
    "keyscale": TEXT, "timesignature": TEXT,
}
_TEXTS = {"caption": TEXT, "lyrics": TEXT, "vocal_language": TEXT}
_PATH = "where the first file is: a path and query of this server"
_SONG = {
    "first_audio_path": _said(or_null(TEXT), f"{_PATH}; null for an analysis"),
    "second_audio_path": _said(or_null(TEXT), "where the second one is; null for a single song"),
    "audio_paths": _said(a_list(TEXT), "where all files are"),
    "generation_info": _said(TEXT, "lines for people: times, seeds, the schedule, and what was not used"),
    "status_message": _said(TEXT, "a line for people; of an analysis the words that upstream's clients compare"),
    "seed_value": _said(TEXT, "one seed for each file, comma-separated"),
    "metas": an_object(_METAS | _TEXTS, required=tuple(_METAS), text="what the models saw: the five values that "
                       "follow, `N/A` where one is not known; then `caption`, `lyrics`, `vocal_language`"),
    "bpm": _said(or_null({"type": "integer"}), "beats per minute"),
    "duration": _said(or_null({"type": "number"}), "seconds"),
    "keyscale": _said(or_null(TEXT), "key, such as `C major`"),
    "timesignature": _said(or_null(TEXT), "beats of a bar"), "genres": _said(or_null(TEXT), "genres"),
    "lm_model": _said(or_null(TEXT), "the 5 Hz LM that is configured, used or not"),
    "dit_model": _said(TEXT, "the model that made the song, or heard the source of an analysis"),
    "audio_codes": _said(or_null(a_list(TEXT)), "the `<|audio_code_N|>` tokens that each file follows; null for a song "
                         "that follows none. Of an analysis: those of the source"),
}
RESULT = an_object(_SONG | {
    "prompt": _said(TEXT, "of an analysis by the 5 Hz LM: the caption"),
    "lyrics": _said(TEXT, "of such an analysis: the lyrics"),
    "genre": _said(or_null(TEXT), "of such an analysis: genres"),
    "language": _said(TEXT, "of such an analysis: the language of the lyrics, or `unknown`"),
}, required=tuple(_SONG))
JOB = an_object({
    "job_id": _said(TEXT, "the job"), "status": _said(STATUS, "where it is"),
    "created_at": _said(SECONDS, "when it was submitted, in Unix seconds"),
    "started_at": _said(or_null(SECONDS), "when a worker began, for the last time"),
    "finished_at": _said(or_null(SECONDS), "when it ended"),
    "queue_position": _said(COUNT, "1 is the next; 0 when it does not wait"),
    "eta_seconds": _said(or_null(SECONDS), "a guess of how long it will wait, while it does"),
    "avg_job_seconds": _said(SECONDS, "how long jobs take on the average"),
    "result": _said(or_null(ref("Result")), "of a job that succeeded"),
    "error": _said(or_null(TEXT), "why it failed, in one line"),
    "error_code": {"type": ["string", "null"], "enum": [*ERROR_CODES, None], "description": "the same for programs"},
    "progress": _said(or_null(ref("Progress")), "while it runs"),
})
JOBS = an_object({"jobs": a_list(ref("Job"))})
_FACTS = {
    "name": TEXT, "is_default": {"type": "boolean"}, "aliases": a_list(TEXT), "tasks": a_list(TEXT),
    "audio_is_noise": {"type": "boolean"},
}
MODEL = an_object({
    "id": TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": TEXT, **_FACTS})
MODELS = an_object({
    "models": a_list(an_object(_FACTS)), "default_model": or_null(TEXT), "object": {"const": "list"},
    "data": a_list(MODEL),
})
_SAID = {"status": TEXT, "service": TEXT, "version": TEXT}
HEALTH = an_object({**_SAID, "code": {"const": 200}, "data": an_object(_SAID)})
STATE = an_object({"status": TEXT})
LM: Json = {"type": ["string", "null"], "enum": ["ready", "loading", "none", None],
            "description": "the 5 Hz LM; null while the pipeline is away"}
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
    "result": {**TEXT, "description": "JSON text: a list, one object for each audio, or one of an analysis"},
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
