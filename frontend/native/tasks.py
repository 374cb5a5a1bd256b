"""Upstream's later routes, which most other programs speak: /release_task, /query_result, /format_input, /v1/stats.

Their answers are wrapped in {data, code, error, timestamp, extra}; their errors are like everybody's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from quart import Blueprint, Response, request

from frontend.answers import json_response
from frontend.errors import RequestError
from frontend.fields import Level, first_of
from frontend.jobs.job import Job, State
from frontend.progress import percent
from frontend.services import Services
from frontend.unread import unread

from .accept import accept, limits
from .analysis import analysis_of
from .body import read_body
from .format_work import format_work
from .not_used import name_in_answer
from .record import found, result
from .task_fields import TASK_IDS, read_ids, read_task
from .texts import Texts

_STATUS = {State.QUEUED: 0, State.RUNNING: 0, State.SUCCEEDED: 1, State.FAILED: 2}
_WRITTEN = ("caption", "lyrics", "bpm", "key_scale", "time_signature", "duration", "vocal_language")


def tasks(services: Services) -> Blueprint:
    """The routes."""
    routes = Blueprint("tasks", __name__)
    texts = Texts(services.songs, services.settings.generation_timeout)

    @routes.post("/release_task")
    async def release_task() -> Response:
        job = await accept(request, services, read_task)
        return _wrapped({"task_id": job.id, "status": str(job.state), "queue_position": job.position})

    @routes.post("/query_result")
    async def query_result() -> Response:
        body = await _fields(services)
        ids = _task_ids(body)
        name_in_answer(unread((TASK_IDS,), (Level(body),), ()))
        return _wrapped([_shown(task_id, await services.store.get(task_id)) for task_id in ids])

    @routes.post("/format_input")
    async def format_input() -> Response:
        catalogue = services.require_catalogue()
        work = format_work(await _fields(services), catalogue, services.defaults)
        name_in_answer(work.notes)
        written = await texts.write({**work.song, "kind": "format"})
        return _wrapped({name: written.get(name) for name in _WRITTEN})

    @routes.get("/v1/stats")
    async def stats() -> Response:
        found = await services.store.stats(services.settings.avg_window)
        return _wrapped({
            # Upstream counts ended jobs too; the store forgets them, so a count would say nothing.
            "jobs": {"queued": found.queued, "running": found.running},
            "queue_size": found.queued, "queue_maxsize": services.settings.queue_maxsize,
            "avg_job_seconds": await services.average_seconds(),
        })

    return routes


async def _fields(services: Services) -> dict[str, Any]:
    """The fields of a request that needs no files."""
    return await read_body(request, limits(services), None)


def _wrapped(data: object) -> Response:
    return json_response({
        "data": data, "code": 200, "error": None, "timestamp": int(time.time() * 1000), "extra": None,
    })


def _task_ids(body: Mapping[str, object]) -> Sequence[str]:
    """The list of ids. Errors: RequestError 400, also without one."""
    name, value = first_of(TASK_IDS.names, body)
    try:
        return read_ids(value)
    except ValueError as error:
        raise RequestError(400, f"{name}: {error}") from None


def _shown(task_id: str, job: Job | None) -> dict[str, Any]:
    """A task's entry; its `result` is JSON text of a list, one object for each audio. An unknown task has failed."""
    if job is None:
        return {"task_id": task_id, "status": 2, "result": _text([{"file": "", "status": 2, "error": "Job not found"}])}
    return {"task_id": task_id, "status": _STATUS[job.state], "result": _text(_results(job))}


def _results(job: Job) -> list[dict[str, Any]]:
    common = {
        "wave": "", "status": _STATUS[job.state], "create_time": int(job.created_at), "env": "production",
    }
    if job.result is None:
        done = 0 if job.progress is None else percent(job.work.song, job.progress)
        stage = job.progress.phase if job.state is State.RUNNING and job.progress is not None else str(job.state)
        failed = {"error": job.error, "error_code": job.error_code} if job.state is State.FAILED else {}
        return [{"file": "", **common, "progress": done / 100, "stage": stage, **failed}]
    song = result(job, job.result)
    metadata = job.result["metadata"]
    texts = {name: song[name] or "" for name in ("genres", "keyscale", "timesignature")}
    common |= {
        "prompt": metadata.get("caption") or "", "lyrics": metadata.get("lyrics") or "",
        "metas": {"bpm": song["bpm"], "duration": song["duration"], **texts, **_language(metadata)},
        "generation_info": song["generation_info"], "seed_value": song["seed_value"],
        "lm_model": song["lm_model"] or "", "dit_model": song["dit_model"], "progress": 1.0, "stage": "succeeded",
    }
    analysis = analysis_of(job.work.song)
    if analysis is not None and analysis.needs_source:
        own = found(job, job.result, analysis)
        return [own | {name: value for name, value in {"file": "", **common}.items() if name not in own}]
    if analysis is not None:
        return [{"file": "", **common}]
    codes = song["audio_codes"] or [None] * len(song["audio_paths"])
    return [{"file": url, **common, "audio_codes": text}
            for url, text in zip(song["audio_paths"], codes, strict=True)]


def _language(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Not of upstream's: the LM may have chosen it, and without it a song is not made again."""
    language = metadata.get("vocal_language")
    return {"vocal_language": language} if language else {}


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
