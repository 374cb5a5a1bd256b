"""POST /v1/music/random: a song of the LM's own, whose only field is `thinking`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from quart import Request

from frontend import coerce
from frontend.catalogue import Catalogue
from frontend.defaults import OURS, Defaults
from frontend.errors import RequestError
from frontend.fields import Field, Level, is_blank
from frontend.jobs.job import Job, Work
from frontend.once import read_once
from frontend.paced import whole
from frontend.services import Services
from frontend.unbuilt import read_built
from frontend.uploads import Files

from .accept import limits
from .body import json_object
from .fields import read
from .lm import NEEDS_LM
from .seeds import draw_seed
from .submission import work_of

PATH = "/v1/music/random"
_THINKING = Field(("thinking", "Thinking"), coerce.flag, True, nested=True)


async def accept_random(request: Request, services: Services) -> Job:
    """Queue the song that `request` asks for. Errors: RequestError."""
    catalogue = services.require_catalogue()
    data = await whole(request, limits(services).text)
    body = _json(request.headers.get("Content-Type", ""), data)
    work = random_submission(body or {}, request.args, catalogue, services.defaults)
    if body is None and data.strip():
        work = replace(work, notes=(*work.notes, "the body was not used: it is no JSON object"))
    async with services.uploads.intake() as intake:
        once = await read_once(request, {"thinking": work.song["thinking"]}, intake)
        return await services.submit(work, intake, once)


def random_submission(
    body: Mapping[str, Any], query: Mapping[str, str], catalogue: Catalogue, defaults: Defaults = OURS
) -> Work:
    """The work of a random song: sample mode with every default. Errors: RequestError 400."""
    if catalogue.lm is None:
        raise RequestError(400, f"{PATH}: {NEEDS_LM}")
    levels = (Level(_said(body)), Level(_said(query), container="query."))
    asked = read_built((_THINKING,), levels, ())
    fields = read({"sample_mode": True, "thinking": asked["thinking"]})
    fields = replace(fields, unbuilt=asked.unbuilt, notes=asked.notes)
    return work_of(fields, {}, catalogue, Files(), draw_seed, defaults)


def _said(source: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in source.items() if not is_blank(value)}


def _json(content_type: str, body: bytes) -> dict[str, Any] | None:
    """The body's object; as documented, whatever else it is counts as empty."""
    if "json" not in content_type.lower():
        return None
    try:
        return json_object(body, "")
    except RequestError:
        return None
