"""POST /v1/music/random: a song of the LM's own, whose only field is `thinking`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frontend.catalogue import Catalogue
from frontend.errors import RequestError
from frontend.jobs.job import Work

from . import coerce
from .body import json_object
from .lm import NEEDS_LM
from .submission import submission

_NAMES = ("thinking", "Thinking")


def random_submission(content_type: str, body: bytes, query: Mapping[str, str], catalogue: Catalogue) -> Work:
    """The work of a random song: sample mode with every default. Errors: RequestError 400."""
    if catalogue.lm is None:
        raise RequestError(400, f"/v1/music/random: {NEEDS_LM}")
    return submission({"sample_mode": True, "thinking": _thinking(_json(content_type, body), query)}, catalogue)


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
                    return coerce.flag(source[name])
                except ValueError as error:
                    raise RequestError(400, f"{name}: {error}") from None
    return True
