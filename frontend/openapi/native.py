"""The native API's operations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from frontend.audio.decode import FORMATS
from frontend.audio.formats import SONG_FORMATS
from frontend.fields import Field
from frontend.metrics import CONTENT_TYPE
from frontend.native.fields import TABLE
from frontend.native.format_work import FIELDS as TEXT_FIELDS
from frontend.native.task_fields import TASK_IDS, TASK_TABLE
from frontend.uploads import FIELDS

from . import answers
from .operation import (
    EVENTS,
    FORM,
    GUARDED,
    JSON,
    MODEL_ID,
    MULTIPART,
    WITH_BODY,
    Operation,
    an_object,
    document,
    parameter,
    ref,
)
from .schema import Json, form_properties, json_properties, lenient, or_null

_TEXT: Json = {"type": "string"}
_SUBMITS = (*GUARDED, *WITH_BODY, 409, 429, 503)
_THINKING: Json = {**or_null(lenient({"type": "boolean"})), "default": True}
_ID = parameter("job_id", "path", "the job", _TEXT, required=True)
_ONCE = parameter(
    "Idempotency-Key", "header", "sent again with the same request it gives the same job",
    {"type": "string", "minLength": 1, "maxLength": 255})
_AUDIO_TYPES = dict.fromkeys(form.content_type for form in SONG_FORMATS.values())
_FILES: dict[str, Json] = {
    name: {"type": "string", "format": "binary", "description": f"{FORMATS}, at most 600 seconds"} for name in FIELDS}


def operations() -> tuple[Operation, ...]:
    """Every route, in the order of the documentation."""
    return (
        Operation("POST", "/v1/music/generate", "queues a song or an analysis: `{\"job_id\", \"status\", "
                  "\"queue_position\"}`",
                  {JSON: answers.SUBMITTED}, _SUBMITS, _song_bodies(TABLE, "metas"), (_ONCE,)),
        Operation("POST", "/v1/music/random", "queues a song that the 5 Hz LM invents; its only field is `thinking`, "
                  "in JSON or in the query", {JSON: answers.SUBMITTED}, _SUBMITS,
                  {JSON: an_object({"thinking": _THINKING}, required=())},
                  (_ONCE, parameter("thinking", "query", "where the body has none", {"type": "boolean"})),
                  needs_body=False),
        Operation("GET", "/v1/jobs/<job_id>", "the job's ten documented keys, then `error_code` and `progress`",
                  {JSON: ref("Job")}, (*GUARDED, 404), parameters=(_ID,)),
        Operation("DELETE", "/v1/jobs/<job_id>", "cancels: a job that waited or ran has failed now, `error_code` "
                  "`cancelled`; one that had ended is left as it is. The job's record", {JSON: ref("Job")},
                  (*GUARDED, 404), parameters=(_ID,)),
        Operation("GET", "/v1/jobs/<job_id>/events", "the job live, as server-sent events", {EVENTS: _TEXT},
                  (*GUARDED, 404), parameters=(_ID, parameter(
                      "Last-Event-ID", "header", "the last event that was heard", _TEXT)), statuses=(200, 204)),
        Operation("GET", "/v1/jobs", "the newest jobs; with `ACESTEP_API_KEY` only", {JSON: answers.JOBS},
                  (*GUARDED, 400), parameters=(
                      parameter("limit", "query", "at most so many", {
                          "type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
                      parameter("before", "query", "those submitted before this job", _TEXT),
                      parameter("status", "query", "those in these states", answers.a_list(answers.STATUS)))),
        Operation("GET", "/v1/models", "the models that can be asked for", {JSON: answers.MODELS}, GUARDED),
        Operation("GET", "/v1/models/<model_id>", "one of them, by its name or an alias", {JSON: answers.MODEL},
                  (*GUARDED, 404, 503), parameters=(MODEL_ID,)),
        Operation("GET", "/v1/audio", "a finished file, with Range and HEAD",
                  {kind: {"type": "string", "format": "binary"} for kind in _AUDIO_TYPES},
                  (*GUARDED, 400, 404, 416), statuses=(200, 206, 304), parameters=(
                      parameter("path", "query", "as the job's result has it", _TEXT, required=True),
                      parameter("Range", "header", "one range of bytes", _TEXT))),
        Operation("POST", "/release_task", "as generate: `{\"task_id\", \"status\", \"queue_position\"}`, wrapped",
                  {JSON: answers.wrapped(answers.TASK)}, _SUBMITS, _song_bodies(TASK_TABLE, "param_obj"), (_ONCE,)),
        Operation("POST", "/query_result", "the states of the tasks in `task_id_list`, wrapped; `result` is JSON text",
                  {JSON: answers.wrapped(answers.a_list(answers.TASK_STATE))}, (*GUARDED, *WITH_BODY), _task_ids()),
        Operation("POST", "/format_input", "caption, lyrics and metadata as the 5 Hz LM would have them, wrapped",
                  {JSON: answers.wrapped(answers.WRITTEN)}, (*GUARDED, *WITH_BODY, 429, 500, 503, 504), _texts()),
        Operation("GET", "/v1/stats", "jobs that wait and run, the queue's size and maximum, a job's average seconds, "
                  "wrapped", {JSON: answers.wrapped(answers.STATS)}, GUARDED),
        Operation("GET", "/metrics", "the frontend's counters for Prometheus: [metrics.md](metrics.md)",
                  {CONTENT_TYPE.split(";")[0]: _TEXT}, GUARDED),
        Operation("GET", "/openapi.json", "this API as an OpenAPI document", {JSON: {"type": "object"}}, GUARDED),
        Operation("GET", "/docs", "the same as a page", {"text/html": _TEXT}, GUARDED),
        Operation("GET", "/health", "always 200: the process is up", {JSON: answers.HEALTH}),
        Operation("GET", "/livez", "the same, for probes", {JSON: answers.STATE}),
        Operation("GET", "/readyz", "200 when songs can be made, else 503 with the reason; `lm` is `ready`, `loading` "
                  "or `none`, and null while the pipeline is away", {JSON: answers.READY}, (503,),
                  refused_with={503: answers.NOT_READY}),
    )


def describe(with_list: bool) -> Json:
    """The OpenAPI document; `with_list`: the list of jobs is served."""
    served = [each for each in operations() if with_list or (each.method, each.path) != ("GET", "/v1/jobs")]
    return document("ACE-Step native API", served, answers.SCHEMAS)


def _song_bodies(table: Iterable[Field], container: str) -> dict[str, Json]:
    """The three types of body that ask for a song; `container` is an object with fields of the table, or its text."""
    entries = tuple(table)
    nested = an_object(json_properties(entry for entry in entries if entry.nested), required=())
    as_text = {container: {"type": "string", "description": "JSON text of an object with fields"}}
    form = form_properties(entries) | as_text
    return {
        JSON: an_object(
            json_properties(entries) | {container: {"anyOf": [nested, _TEXT, {"type": "null"}]}}, required=()),
        FORM: an_object(form, required=()),
        MULTIPART: an_object(form | _FILES, required=()),
    }


def _task_ids() -> dict[str, Json]:
    listed: Json = {"type": "array", "items": _TEXT, "maxItems": 100}
    as_text: Json = {**_TEXT, "description": "JSON text of a list"}
    form = _one_of(TASK_IDS.names, as_text)
    return {JSON: _one_of(TASK_IDS.names, {"anyOf": [listed, as_text, {"type": "null"}]}), FORM: form, MULTIPART: form}


def _one_of(names: Sequence[str], schema: Json) -> Json:
    """An object with `schema` by one of the names at least."""
    return an_object(dict.fromkeys(names, schema), required=()) | {"anyOf": [{"required": [name]} for name in names]}


def _texts() -> dict[str, Json]:
    entries = [entry for entry in TASK_TABLE if entry.name in TEXT_FIELDS]
    form = an_object(form_properties(entries) | {"param_obj": _TEXT}, required=())
    return {
        JSON: an_object(json_properties(entries) | {"param_obj": {"type": ["object", "string", "null"]}}, required=()),
        FORM: form, MULTIPART: form,
    }
