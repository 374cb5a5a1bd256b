"""From a request that asks for a song to its job, for every route that takes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from quart import Request

from frontend.fields import Fields
from frontend.jobs.job import Job
from frontend.once import HEADER, read_once
from frontend.services import Services

from .body import BodyLimits, read_body
from .paths import take_paths
from .seeds import draw_seed
from .submission import work_of

ReadFields = Callable[[Mapping[str, object]], Fields]


async def accept(request: Request, services: Services, read: ReadFields) -> Job:
    """Queue what `request` asks for, its fields as `read` finds them. Errors: RequestError."""
    catalogue = services.require_catalogue()
    if HEADER not in request.headers:  # with one, the answer may be a job of before, which needs no room
        await services.require_room()
    async with services.uploads.intake() as intake:
        body = await read_body(request, limits(services), intake)
        fields = read(body)
        await take_paths(fields, intake, services.settings.audio_root, limits(services).upload)
        once = await read_once(request, body, intake)
        work = work_of(fields, body, catalogue, await intake.files(), draw_seed, services.defaults)
        return await services.submit(work, intake, once)


def limits(services: Services) -> BodyLimits:
    """What a body may have, by the settings."""
    return BodyLimits(services.settings.max_json_mb << 20, services.settings.max_upload_mb << 20)
