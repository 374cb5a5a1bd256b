"""What can be done with a job: look at it, cancel it, follow it live, find it in a list."""

from __future__ import annotations

from quart import Blueprint, Response, request

from frontend import coerce
from frontend.answers import json_response
from frontend.errors import RequestError
from frontend.jobs.job import Job, State
from frontend.services import Services

from .events import stream_events
from .record import record

_MOST_LISTED = 100
_LISTED = 20


def jobs(services: Services) -> Blueprint:
    """GET and DELETE /v1/jobs/<id>, GET /v1/jobs/<id>/events; GET /v1/jobs for holders of the key."""
    routes = Blueprint("jobs", __name__)

    async def find(job_id: str) -> Job:
        job = await services.store.get(job_id)
        if job is None:
            raise RequestError(404, "Job not found")
        return job

    async def shown(*found: Job) -> list[dict[str, object]]:
        average = await services.average_seconds()
        return [record(job, average, services.in_flight()) for job in found]

    @routes.get("/v1/jobs/<job_id>")
    async def show(job_id: str) -> Response:
        [job] = await shown(await find(job_id))
        return json_response(job)

    @routes.delete("/v1/jobs/<job_id>")
    async def cancel(job_id: str) -> Response:
        await services.cancel(job_id)
        return await show(job_id)

    @routes.get("/v1/jobs/<job_id>/events")
    async def events(job_id: str) -> Response:
        job, last_seen = await find(job_id), request.headers.get("Last-Event-ID", "").strip()
        return stream_events(services, job, last_seen, head_alone=request.method == "HEAD")

    async def listed() -> Response:
        states = [State(text) for text in request.args.getlist("status") if text in tuple(State)]
        if len(states) != len(request.args.getlist("status")):
            raise RequestError(400, f"status: must be one of {', '.join(State)}")
        found = await services.store.list(_limit(), before=request.args.get("before"), states=states or None)
        return json_response({"jobs": await shown(*found)})

    if services.settings.native_api_key:  # without one everybody would see everybody's jobs
        routes.get("/v1/jobs")(listed)
    return routes


def _limit() -> int:
    try:
        limit: int = coerce.whole(1, _MOST_LISTED)(request.args.get("limit", _LISTED))
    except ValueError:
        raise RequestError(400, f"limit: must be a whole number between 1 and {_MOST_LISTED}") from None
    return limit
