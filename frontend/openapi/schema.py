"""Tables of fields as JSON Schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from frontend.coerce import schema_of
from frontend.fields import Field

Json = dict[str, Any]


def json_properties(table: Iterable[Field]) -> dict[str, Json]:
    """The fields of a JSON body by canonical name, with all that their readers take, and null."""
    return {entry.name: _described(entry, or_null(lenient(schema_of(entry.read)))) for entry in table}


def form_properties(table: Iterable[Field]) -> dict[str, Json]:
    """The same for forms, which have no null."""
    return {entry.name: _described(entry, lenient(schema_of(entry.read))) for entry in table}


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


def or_null(schema: Json) -> Json:
    """`schema`, or null."""
    return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}


def lenient(schema: Mapping[str, Any]) -> Json:
    """What a reader takes whose good values are those of `schema`.

    Beside them numbers may be text and text a number; words may be in any letters, with blanks around them; one stands
    for a list of one; and blank text is as if nothing was sent.
    """
    options = [option for good in schema.get("anyOf", (schema,)) for option in _lenient(good)]
    if _is_plain_text(schema):
        options.append({"type": "number"})
    return {"anyOf": [option for place, option in enumerate(options) if option not in options[:place]]}


def _lenient(good: Mapping[str, Any]) -> Iterator[Json]:
    """Good values of one kind, then what else stands for them."""
    good = {name: value for name, value in good.items() if name != "description"}
    kind = good.get("type")
    if kind == "array":
        items = [good["items"]] if _is_plain_text(good["items"]) else [good["items"], {"type": "string"}]
        yield {**good, "items": {"anyOf": items}}
        yield from items
    elif kind == "string" and "enum" in good:
        yield good
        yield {"type": "string", "pattern": _any_letters(good["enum"])}
        if numbers := [int(word) for word in good["enum"] if word.isdigit()]:
            yield {"enum": numbers}
    elif kind == "string":
        yield {"type": "string"} if "pattern" in good else good
    else:
        yield good
        yield {"type": "string"}
        if kind == "boolean":
            yield {"type": "number"}


def _is_plain_text(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "string" and "enum" not in schema and "pattern" not in schema


def _any_letters(words: Iterable[str]) -> str:
    """A pattern of these words in upper and lower case, numbers also as `2.0`, with blanks around, and of blanks."""
    spelled = ("".join(f"[{char.upper()}{char}]" if char.isalpha() else char for char in word)
               + (r"(\.0)?" if word.isdigit() else "") for word in words)
    return rf"^\s*({'|'.join(spelled)})?\s*$"
