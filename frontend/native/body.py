"""Request bodies of the native API: the Content-Type rules, JSON that must be an object, forms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from quart import Request

from frontend.errors import RequestError
from frontend.paced import chunks, whole
from frontend.uploads import Intake

from .fields import LISTED
from .multipart import read_form

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
_MAX_FIELDS = 1000


@dataclass(frozen=True)
class BodyLimits:
    """Bytes: of the texts of a request, and of a whole multipart body with its files."""

    text: int
    upload: int


async def read_body(request: Request, limits: BodyLimits, intake: Intake | None) -> dict[str, Any]:
    """The fields of a request by name; its files go to `intake`, None reads past them. Errors: 400, 408, 413, 415."""
    content_type = request.headers.get("Content-Type", "")
    if content_type.strip().lower().startswith(MULTIPART):
        return await read_form(content_type, chunks(request, limits.upload), limits.text, intake)
    return parse_body(content_type, await whole(request, limits.text))


def parse_body(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a body without files; 400 for bodies that hold none, 415 for types that cannot be read."""
    kind = content_type.strip().lower()
    looks_like_json = body.lstrip()[:1] in (b"{", b"[")
    if kind.startswith("application/json") or kind.endswith("+json"):
        return json_object(body, "JSON payload must be an object")
    # curl -d without a header calls its JSON a form: what looks like JSON is read as JSON.
    if looks_like_json:
        return json_object(body, "JSON payload must be an object; set Content-Type: application/json")
    if kind.startswith(FORM) or b"=" in body:
        return form_fields(body)
    shown = content_type.strip()[:100] or "(missing)"
    raise RequestError(
        415, f"Unsupported Content-Type: {shown}; use application/json, {FORM}, or {MULTIPART}")


def form_fields(body: bytes) -> dict[str, Any]:
    """The first value of every name of an urlencoded form; all of those that may be a list."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise RequestError(400, f"{FORM}: must be UTF-8 text with at most {_MAX_FIELDS} fields") from None
    values: dict[str, Any] = dict(reversed(pairs))
    for name in LISTED & values.keys():
        found = [value for sent, value in pairs if sent == name]
        values[name] = found if len(found) > 1 else found[0]
    return values


def json_object(body: bytes, not_an_object: str) -> dict[str, Any]:
    """The object in `body`; 400 with a line about what is wrong with it. Of equal keys the last one wins."""
    try:
        value = json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise RequestError(400, "Invalid JSON: the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise RequestError(400, f"Invalid JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except (ValueError, RecursionError):
        raise too_large() from None
    if not isinstance(value, dict):
        raise RequestError(400, not_an_object)
    return value


def too_large() -> RequestError:
    """400 for JSON that Python can read or write no further."""
    return RequestError(400, "Invalid JSON: a number or a nesting is too large")
