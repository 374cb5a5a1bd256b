"""The models as chat clients list them: OpenRouter's, OpenAI's and the native API's."""

from __future__ import annotations

from typing import Any

from frontend.catalogue import Catalogue, Model

from .fields import DEFAULT_MODEL

_OWNER = "acemusic"
_CREATED = 1_706_688_000  # as documented
_DESCRIPTION = "High-performance text-to-music generation model"


def openrouter_list(catalogue: Catalogue) -> dict[str, Any]:
    """The documented list: the documented id first, which is the default model, then every model by its own name."""
    default = catalogue.find(None) or catalogue.models[0]
    entries = [_entry(DEFAULT_MODEL, "ACE-Step", default)]
    entries += [_entry(f"{_OWNER}/{model.name}", f"ACE-Step ({model.name})", model) for model in catalogue.models]
    return {"data": entries}


def openai_list(catalogue: Catalogue) -> dict[str, Any]:
    """The same for clients of `GET /v1/models`: those of OpenAI read `data`, those of the native API `models`."""
    models = [{"name": model.name, "is_default": model.name == catalogue.default} for model in catalogue.models]
    return {
        "models": models, "default_model": catalogue.default, "object": "list", **openrouter_list(catalogue),
    }


def _entry(model_id: str, name: str, model: Model) -> dict[str, Any]:
    noise = "; a test checkpoint with random weights, its audio is noise" if model.audio_is_noise else ""
    return {
        "id": model_id, "name": name, "created": _CREATED,
        "description": f"{_DESCRIPTION} ({model.name}{noise})",
        "input_modalities": ["text", "audio"], "output_modalities": ["audio"], "context_length": 4096,
        "pricing": {"prompt": "0", "completion": "0", "request": "0"},
        "supported_sampling_parameters": ["temperature", "top_p", "top_k", "seed"],
        "object": "model", "owned_by": _OWNER,
    }
