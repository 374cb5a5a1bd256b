"""Tables of fields as JSON Schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from frontend.coerce import schema_of
from frontend.fields import Field

Json = dict[str, Any]


def json_properties(table: Iterable[Field]) -> dict[str, Json]:
    """The fields of a JSON body by canonical name: beside their own type null, and text for what is no text."""
    return {entry.name: _described(entry, _lenient(schema_of(entry.read))) for entry in table}


def form_properties(table: Iterable[Field]) -> dict[str, Json]:
    """The same for forms, whose values are all texts."""
    return {entry.name: _described(entry, schema_of(entry.read)) for entry in table}


def values_text(schema: Mapping[str, Any]) -> str:
    """The good values in words: "30 to 300", "text, at most 2000 characters"."""
    if "enum" in schema:
        values = schema["enum"]
        return ", ".join(values) if len(values) <= 12 else f"{', '.join(values[:4])}, ... ({len(values)} codes)"
    if "description" in schema:
        return str(schema["description"])
    if "anyOf" in schema:
        return "one, a comma list, or a list"
    if schema["type"] == "boolean":
        return "true, false"
    if "pattern" in schema:
        return "text"
    if schema["type"] == "string":
        return f"text, at most {schema['maxLength']} characters"
    return _range(schema)


def default_text(value: object) -> str:
    """A default in words; nothing for what has none."""
    if value in (None, "", ()):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(_plain(value))


def _range(schema: Mapping[str, Any]) -> str:
    noun = "whole, " if schema["type"] == "integer" else ""
    if "maximum" in schema:
        return f"{noun}{schema['minimum']:g} to {schema['maximum']:g}"
    if "exclusiveMinimum" in schema:
        return f"{noun}above {schema['exclusiveMinimum']:g}"
    return f"{noun}from {schema['minimum']:g}"


def _described(entry: Field, schema: Json | Mapping[str, Any]) -> Json:
    also = f" Also: {', '.join(entry.also)}." if entry.also else ""
    described = {**schema, "description": f"{entry.help}.{also}".strip(".").strip() + "."}
    if entry.default not in (None, "", ()):
        described["default"] = _plain(entry.default)
    return described


def _plain(value: object) -> object:
    """A default as JSON has it; a tuple of one is that one."""
    if isinstance(value, tuple):
        return value[0] if len(value) == 1 else list(value)
    return value


def _lenient(schema: Mapping[str, Any]) -> Json:
    """`schema` with null, and with text beside numbers and flags."""
    if "anyOf" in schema:
        return {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    kinds = [schema["type"], *(["string"] if schema["type"] != "string" else []), "null"]
    lenient = {**schema, "type": kinds}
    if "enum" in schema:
        lenient["enum"] = [*schema["enum"], None]
    return lenient
