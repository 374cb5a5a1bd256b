"""The OpenRouter-compatible API's operations."""

from __future__ import annotations

from frontend.chat.fields import AUDIO, TABLE
from frontend.chat.form import OPTIONS

from . import answers
from .operation import EVENTS, GUARDED, JSON, MODEL_ID, WITH_BODY, Operation, an_object, document
from .schema import Json, json_properties

_TEXT: Json = {"type": "string"}
_ERROR = an_object({
    "detail": {"type": "string", "description": "one line"},
    "error": an_object({"message": _TEXT, "type": _TEXT, "code": {"type": "integer"}}),
})
_PART = an_object({
    "type": {"type": "string"}, "text": _TEXT,
    "input_audio": an_object({"data": {**_TEXT, "description": "base64"}, "format": _TEXT}, required=()),
}, required=())
_MESSAGE = an_object({
    "role": {"type": "string", "default": "user"},
    "content": {"anyOf": [_TEXT, answers.a_list({"anyOf": [_PART, _TEXT]}), {"type": "null"}]},
}, required=())
_AUDIO = an_object({
    "type": {"const": "audio_url"},
    "audio_url": an_object({"url": {**_TEXT, "description": "data:audio/mpeg;base64,..."}}),
})
_OPENAI_AUDIO = an_object({
    "id": _TEXT, "data": {**_TEXT, "description": "base64"}, "expires_at": {"type": "integer"},
    "transcript": {**_TEXT, "description": "the lyrics"},
}, text="with `audio.format`: OpenAI's own object")
_COMPLETION = an_object({
    "id": _TEXT, "object": {"const": "chat.completion"}, "created": {"type": "integer"}, "model": _TEXT,
    "choices": answers.a_list(an_object({
        "index": {"type": "integer"}, "finish_reason": _TEXT,
        "message": an_object({
            "role": _TEXT, "content": _TEXT, "audio": {"anyOf": [answers.a_list(_AUDIO), _OPENAI_AUDIO]},
            "audio_codes": {"anyOf": [_TEXT, answers.a_list(_TEXT)]},
        }, required=("role", "content", "audio")),
    })),
    "usage": an_object(dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), answers.COUNT)),
    "notes": {**answers.a_list(_TEXT), "description": "what was not used, one line each"},
}, required=("id", "object", "created", "model", "choices", "usage"))
_MODEL = an_object({
    "id": _TEXT, "name": _TEXT, "created": {"type": "integer"}, "description": _TEXT,
    "input_modalities": answers.a_list(_TEXT), "output_modalities": answers.a_list(_TEXT),
    "context_length": answers.COUNT, "pricing": an_object(dict.fromkeys(("prompt", "completion", "request"), _TEXT)),
    "supported_sampling_parameters": answers.a_list(_TEXT), "object": {"const": "model"}, "owned_by": _TEXT,
})
_OPENROUTER_MODELS = an_object({"data": answers.a_list(_MODEL)})
_MODELS = an_object({
    "models": answers.a_list(an_object({"name": _TEXT, "is_default": {"type": "boolean"}})), "default_model": _TEXT,
    "object": {"const": "list"}, "data": answers.a_list(_MODEL),
})


def operations() -> tuple[Operation, ...]:
    """Every route, in the order of the documentation."""
    body: dict[str, Json] = {JSON: _request()}
    refusals = (*GUARDED, *WITH_BODY, 429, 500, 503, 504)
    results: dict[str, Json] = {JSON: _COMPLETION, EVENTS: _TEXT}
    return (
        Operation("POST", "/v1/chat/completions", "a song, whole or as a stream", results, refusals, body),
        Operation("POST", "/api/v1/chat/completions", "the same", results, refusals, body),
        Operation("GET", "/api/v1/models", "the models as documented", {JSON: _OPENROUTER_MODELS},
                  (*GUARDED, 503)),
        Operation("GET", "/v1/models", "the same, and in the forms of OpenAI and of the native API", {JSON: _MODELS},
                  (*GUARDED, 503)),
        *(Operation("GET", f"{prefix}/v1/models/<model_id>", "one of them: the last part of the id is a name or an "
                    "alias", {JSON: _MODEL}, (*GUARDED, 404, 503), parameters=(MODEL_ID,))
          for prefix in ("/api", "")),
        Operation("GET", "/openapi.json", "this API as an OpenAPI document", {JSON: {"type": "object"}}, GUARDED),
        Operation("GET", "/docs", "the same as a page", {"text/html": _TEXT}, GUARDED),
        Operation("GET", "/health", "always 200: the process is up", {JSON: answers.HEALTH}),
    )


def describe() -> Json:
    """The OpenAPI document."""
    return document("ACE-Step OpenRouter-compatible API", operations(), {"Error": _ERROR})


def _request() -> Json:
    flat = json_properties(TABLE)
    config = an_object(json_properties(entry for entry in TABLE if entry.nested), required=(), text="the same fields")
    audio = an_object(json_properties(AUDIO), required=(), text="OpenAI's: with a format the answer is as OpenAI's own")
    options = an_object(json_properties(OPTIONS), required=(), text="of a stream")
    objects = {"audio_config": config, "audio": audio, "stream_options": options}
    return an_object(
        {"messages": {"type": "array", "items": _MESSAGE, "minItems": 1}, **flat,
         **{name: {"anyOf": [schema, {"enum": [None, ""]}]} for name, schema in objects.items()}},
        required=("messages",))
