"""Generated tables of the documentation, in Markdown: routes, fields, and what the OpenAPI document says of answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from frontend.audio.formats import Format
from frontend.coerce import schema_of
from frontend.fields import Field
from frontend.native.analysis import ASKING, Analysis
from frontend.native.usage import when

from .operation import Operation
from .schema import Json, default_text, values_text

_KINDS = {"string": "text", "integer": "whole", "number": "number", "boolean": "true, false", "null": "null"}


def routes(operations: Iterable[Operation]) -> str:
    """Every route and what it answers."""
    return _table(("route", "answers"), ((f"`{each.method} {each.path}`", each.answers) for each in operations))


def fields(table: Iterable[Field], container: str, native: Mapping[str, str] | None = None) -> str:
    """Every field of a request; `container` is the object of the body that may hold some of them.

    `native` are the native API's names of fields that are called otherwise.
    """
    names = native or {}
    rows = ((f"`{entry.name}`", ", ".join(f"`{name}`" for name in entry.also), "yes" if entry.nested else "",
             values_text(schema_of(entry.read)), default_text(entry.default), entry.help,
             when(names.get(entry.name, entry.name))) for entry in table)
    return _table(("field", "also", f"in `{container}`", "values", "default", "meaning", "used when"), rows)


def unbuilt(table: Iterable[Field]) -> str:
    """Fields of which one value passes."""
    rows = ((f"`{entry.name}`", values_text(schema_of(entry.read)), entry.help) for entry in table)
    return _table(("field", "passes", "meaning"), rows)


def analyses(table: Iterable[Analysis]) -> str:
    """What may be asked for instead of a song, and what it takes."""
    rows = ((f"`{entry.field}`", "yes" if entry.needs_source else "", "yes" if entry.needs_lm else "",
             ", ".join(f"`{name}`" for name in entry.uses if name not in ASKING), f"`{entry.status_message}`")
            for entry in table)
    return _table(("field", "needs `src_audio`", "needs the 5 Hz LM", "uses", "`status_message`"), rows)


def keys(schema: Json) -> str:
    """The keys of an object, in its order."""
    rows = ((f"`{name}`", _values(entry), _meaning(entry)) for name, entry in schema["properties"].items())
    return _table(("key", "values", "meaning"), rows)


def meanings(head: str, texts: Mapping[str, str]) -> str:
    """Values and when they come."""
    return _table((head, "when"), ((f"`{name}`", text) for name, text in texts.items()))


def formats(written: Mapping[str, Format]) -> str:
    """The formats of songs: how their files are named and served, what is in them."""
    rows = ((f"`{name}`", f"`.{form.suffix}`", f"`{form.content_type}`", form.help) for name, form in written.items())
    return _table(("format", "name ends in", "`Content-Type`", "holds"), rows)


def parameters(operation: Json) -> str:
    """The parameters of a described operation's query."""
    rows = ((f"`{entry['name']}`", _values(entry["schema"]), default_text(entry["schema"].get("default")),
             entry["description"]) for entry in operation["parameters"] if entry["in"] == "query")
    return _table(("parameter", "values", "default", "meaning"), rows)


def statuses(described: Json) -> str:
    """Every status that the routes of an OpenAPI document have, and the headers that come with it."""
    answers = {status: answer for methods in described["paths"].values() for operation in methods.values()
               for status, answer in operation["responses"].items()}
    rows = []
    for status, answer in sorted(answers.items()):
        headers = ", ".join(f"`{name}`" for name in answer.get("headers", ()))
        rows.append((status, answer["description"] + (f", with {headers}" if headers else "")))
    return _table(("status", "when"), rows)


def _meaning(schema: Json) -> str:
    """The description of a schema, or of the one that may be null."""
    listed = [schema, *schema.get("anyOf", ())]
    return next((str(entry["description"]) for entry in listed if "description" in entry), "")


def _values(schema: Json) -> str:
    """What a value may be, in words; an object of its own has a table of its own."""
    if "enum" in schema:
        return ", ".join("null" if value is None else f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_values(entry) for entry in schema["anyOf"])
    if "$ref" in schema:
        return "object"
    kind = schema["type"]
    if kind == "array":
        return f"list of {_values(schema['items'])}"
    words = " or ".join(_KINDS.get(entry, entry) for entry in ([kind] if isinstance(kind, str) else kind))
    return f"{words}, {schema['minimum']} to {schema['maximum']}" if "maximum" in schema else words


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)
