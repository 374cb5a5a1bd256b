"""POST /v1/music/random: a song of the LM's own, whose only field is `thinking`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Request

from frontend import coerce
from frontend.catalogue import Catalogue
from frontend.defaults import OURS, Defaults
from frontend.errors import RequestError
from frontend.jobs.job import Job, Work
from frontend.once import read_once
from frontend.paced import whole
from frontend.services import Services

from .accept import limits
from .body import json_object
from .lm import NEEDS_LM
from .submission import submission

_NAMES = ("thinking", "Thinking")


async def accept_random(request: Request, services: Services) -> Job:
    """Queue the song that `request` asks for. Errors: RequestError."""
    catalogue = services.require_catalogue()
    body = _json(request.headers.get("Content-Type", ""), await whole(request, limits(services).text))
    work = random_submission(body, request.args, catalogue, services.defaults)
    async with services.uploads.intake() as intake:
        once = await read_once(request, {"thinking": work.song["thinking"]}, intake)
        return await services.submit(work, intake, once)


def random_submission(
    body: Mapping[str, Any], query: Mapping[str, str], catalogue: Catalogue, defaults: Defaults = OURS
) -> Work:
    """The work of a random song: sample mode with every default. Errors: RequestError 400."""
    if catalogue.lm is None:
        raise RequestError(400, f"/v1/music/random: {NEEDS_LM}")
    return submission({"sample_mode": True, "thinking": _thinking(body, query)}, catalogue, defaults=defaults)


def _json(content_type: str, body: bytes) -> dict[str, Any]:
    """The body's object; as documented, whatever else it is counts as empty."""
    if "json" not in content_type.lower():
        return {}
    try:
        return json_object(body, "")
    except RequestError:
        return {}


def _thinking(*sources: Mapping[str, Any]) -> bool:
    """The flag as the first of `sources` that has it says; true when none has."""
    for source in sources:
        for name in _NAMES:
            if source.get(name) not in (None, ""):
                try:
                    thinking: bool = coerce.flag(source[name])
                    return thinking
                except ValueError as error:
                    raise RequestError(400, f"{name}: {error}") from None
    return True
