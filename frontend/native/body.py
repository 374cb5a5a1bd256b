"""Request bodies of the native API: the Content-Type rules, and JSON that must be an object."""

from __future__ import annotations

import json
from typing import Any

from frontend.errors import RequestError

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


def parse_body(content_type: str, body: bytes) -> dict[str, Any]:
    """The JSON object of a generate request; 400 for bodies that are none, 415 for types that cannot be read."""
    kind = content_type.strip().lower()
    looks_like_json = body.lstrip()[:1] in (b"{", b"[")
    if kind.startswith("application/json") or kind.endswith("+json"):
        return json_object(body, "JSON payload must be an object")
    if kind.startswith(MULTIPART):
        raise RequestError(400, f"{MULTIPART} bodies are not built yet; send JSON")
    # curl -d without a header calls its JSON a form: what looks like JSON is read as JSON.
    if looks_like_json:
        return json_object(body, "JSON payload must be an object; set Content-Type: application/json")
    if kind.startswith(FORM) or b"=" in body:
        raise RequestError(400, f"{FORM} bodies are not built yet; send JSON")
    shown = content_type.strip()[:100] or "(missing)"
    raise RequestError(
        415, f"Unsupported Content-Type: {shown}; use application/json, {FORM}, or {MULTIPART}")


def json_object(body: bytes, not_an_object: str) -> dict[str, Any]:
    """The object in `body`; 400 with a line about what is wrong with it. Of equal keys the last one wins."""
    try:
        value = json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise RequestError(400, "Invalid JSON: the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise RequestError(400, f"Invalid JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except (ValueError, RecursionError):
        raise RequestError(400, "Invalid JSON: a number or a nesting is too large") from None
    if not isinstance(value, dict):
        raise RequestError(400, not_an_object)
    return value
