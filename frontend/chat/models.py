"""The models as chat clients list them: OpenRouter's, OpenAI's and the native API's."""

from __future__ import annotations

from typing import Any

from frontend.catalogue import Catalogue, Model
from frontend.native.models import CREATED, OWNER, no_model

from .fields import DEFAULT_MODEL

_DESCRIPTION = "High-performance text-to-music generation model"


def openrouter_list(catalogue: Catalogue) -> dict[str, Any]:
    """The documented list: the documented id first, which is the default model, then every model by its own name."""
    default = catalogue.find(None) or catalogue.models[0]
    return {"data": [_entry(DEFAULT_MODEL, "ACE-Step", default), *map(_own_entry, catalogue.models)]}


def retrieved(catalogue: Catalogue, model_id: str) -> dict[str, Any]:
    """One entry of the list. As in a request the last part of an id counts, by a name or an alias; 404 for others."""
    name = model_id.rsplit("/", 1)[-1]
    model = catalogue.find(name)
    if model is not None:
        return _own_entry(model)
    entries: list[dict[str, Any]] = openrouter_list(catalogue)["data"]
    if name != DEFAULT_MODEL.rsplit("/", 1)[-1]:
        raise no_model(entry["id"] for entry in entries)
    return entries[0]


def openai_list(catalogue: Catalogue) -> dict[str, Any]:
    """The same for clients of `GET /v1/models`: those of OpenAI read `data`, those of the native API `models`."""
    models = [{"name": model.name, "is_default": model.name == catalogue.default} for model in catalogue.models]
    return {
        "models": models, "default_model": catalogue.default, "object": "list", **openrouter_list(catalogue),
    }


def _own_entry(model: Model) -> dict[str, Any]:
    return _entry(f"{OWNER}/{model.name}", f"ACE-Step ({model.name})", model)


def _entry(model_id: str, name: str, model: Model) -> dict[str, Any]:
    noise = "; a test checkpoint with random weights, its audio is noise" if model.audio_is_noise else ""
    return {
        "id": model_id, "name": name, "created": CREATED,
        "description": f"{_DESCRIPTION} ({model.name}{noise})",
        "input_modalities": ["text", "audio"], "output_modalities": ["audio"], "context_length": 4096,
        "pricing": {"prompt": "0", "completion": "0", "request": "0"},
        "supported_sampling_parameters": ["temperature", "top_p", "top_k", "seed"],
        "object": "model", "owned_by": OWNER,
    }
