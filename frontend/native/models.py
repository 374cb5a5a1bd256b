"""The models as the native API lists them: the documented keys, then what clients of OpenAI's API read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quart import Blueprint, Response

from frontend.answers import json_response
from frontend.catalogue import Catalogue, Model
from frontend.errors import RequestError
from frontend.services import Services

OWNER = "acemusic"
CREATED = 1_706_688_000  # as documented for the chat API


def models(services: Services) -> Blueprint:
    """GET /v1/models, which is empty until the models are known, and GET /v1/models/<id>."""
    routes = Blueprint("models", __name__)

    @routes.get("/v1/models")
    async def listed() -> Response:
        catalogue = services.catalogue
        known = () if catalogue is None else catalogue.models
        return json_response({
            "models": [_facts(model, catalogue) for model in known],
            "default_model": None if catalogue is None else catalogue.default,
            "object": "list", "data": [_entry(model, catalogue) for model in known],
        })

    @routes.get("/v1/models/<path:model_id>")
    async def one(model_id: str) -> Response:
        catalogue = services.require_catalogue()
        model = catalogue.find(model_id)
        if model is None:
            raise no_model(known.name for known in catalogue.models)
        return json_response(_entry(model, catalogue))

    return routes


def no_model(names: Iterable[str]) -> RequestError:
    """The answer to a request for a model that is not there; `names` are those that are."""
    return RequestError(404, f"Model not found; these are served: {', '.join(names)}")


def openai_model(model_id: str) -> dict[str, Any]:
    """What every model of OpenAI's API says of itself."""
    return {"id": model_id, "object": "model", "created": CREATED, "owned_by": OWNER}


def _entry(model: Model, catalogue: Catalogue | None) -> dict[str, Any]:
    return openai_model(model.name) | _facts(model, catalogue)


def _facts(model: Model, catalogue: Catalogue | None) -> dict[str, Any]:
    return {
        "name": model.name, "is_default": catalogue is not None and model.name == catalogue.default,
        "aliases": list(model.aliases), "tasks": list(model.tasks), "audio_is_noise": model.audio_is_noise,
    }
