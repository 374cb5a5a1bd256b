"""Operations, and the OpenAPI document that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .schema import Json

JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
EVENTS = "text/event-stream"
_MEANINGS = {
    200: "Done", 204: "All was heard already", 206: "The range that was asked for",
    304: "The client has this file already", 400: "The request cannot be served",
    401: "The API key is missing or wrong", 403: "A web page of an origin that is not allowed",
    404: "There is no such job, model or file", 408: "The body did not come in time",
    409: "The Idempotency-Key was used with another request",
    413: "The body is too large", 415: "The body's type or encoding is not known",
    416: "The range lies beyond the end", 429: "The server is busy", 500: "A fault of the server",
    503: "What is needed is not ready yet", 504: "The answer was not ready in time",
}
_READING = ("Fields that are not known change nothing; null and empty text mean the default; numbers may be "
            "text; every name may be camelCase.")
_RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "string"}}}
# Of every route with a body, and of every route behind a key.
WITH_BODY = (400, 408, 413, 415)
GUARDED = (401,)


@dataclass(frozen=True)
class Operation:
    """One route: `answers` in words, for the documentation's table; `refusals` are the other statuses that it has.

    `bodies` and `results` are schemas by content type; `refused_with` are schemas of refusals that are not `Error`.
    """

    method: str
    path: str
    answers: str
    results: Mapping[str, Json]
    refusals: tuple[int, ...] = ()
    bodies: Mapping[str, Json] = field(default_factory=dict)
    parameters: tuple[Json, ...] = ()
    statuses: tuple[int, ...] = (200,)
    refused_with: Mapping[int, Json] = field(default_factory=dict)
    needs_body: bool = True

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it."""
        return self.path.replace("<", "{").replace(">", "}")


def parameter(name: str, place: str, text: str, schema: Json, *, required: bool = False) -> Json:
    """A parameter of a path, a query or a header."""
    return {"name": name, "in": place, "description": text, "required": required, "schema": schema}


MODEL_ID = parameter("model_id", "path", "as the list has it; a slash may stay one", {"type": "string"}, required=True)


def document(title: str, operations: Sequence[Operation], schemas: Mapping[str, Json]) -> Json:
    """The OpenAPI 3.1 document."""
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.template, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1.0", "description": _READING},
        "paths": paths,
        "components": {
            "schemas": dict(schemas), "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> Json:
    refusals = operation.refusals if operation.method == "GET" else (*operation.refusals, 403)
    result: Json = {"summary": operation.answers, "responses": {
        **{str(status): _answer(status, operation.results) for status in operation.statuses},
        **{str(status): _refusal(status, operation.refused_with.get(status)) for status in sorted(refusals)},
    }}
    if 401 in operation.refusals:
        result["security"] = [{"key": []}, {}]
    if operation.parameters:
        result["parameters"] = list(operation.parameters)
    if operation.bodies:
        content = {kind: {"schema": schema} for kind, schema in operation.bodies.items()}
        result["requestBody"] = {"required": operation.needs_body, "content": content}
    return result


def _answer(status: int, results: Mapping[str, Json]) -> Json:
    if status in (204, 304):
        return {"description": _MEANINGS[status]}
    return {"description": _MEANINGS[status], "content": {kind: {"schema": schema} for kind, schema in results.items()}}


def _refusal(status: int, schema: Json | None) -> Json:
    answer: Json = {"description": _MEANINGS[status], "content": {JSON: {"schema": schema or ref("Error")}}}
    if status in (429, 503):
        answer["headers"] = _RETRY
    return answer


def ref(name: str) -> Json:
    """A schema of the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def an_object(properties: Mapping[str, Json], *, required: Sequence[str] | None = None, text: str = "") -> Json:
    """An object whose listed properties are all there, unless `required` names fewer; others may be, too."""
    wanted: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    listed = list(properties) if required is None else list(required)
    if listed:
        wanted["required"] = listed
    return wanted | ({"description": text} if text else {})
