"""An OpenAPI document as one page of HTML: no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from .schema import Json, default_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222 }
code, h2 { font-family: ui-monospace, monospace } h2 { font-size: 1.1em; margin-top: 2em; border-top: 1px solid #ccc;
padding-top: 1em } table { border-collapse: collapse } td, th { text-align: left; vertical-align: top;
padding: .2em 1em .2em 0; border-bottom: 1px solid #eee } summary { cursor: pointer }
@media (prefers-color-scheme: dark) { body { background: #1b1b1b; color: #ddd } td, th, h2 { border-color: #444 } }
"""


def page(described: Json) -> str:
    """The page."""
    title = escape(described["info"]["title"])
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>",
        f"<h1>{title}</h1><p>{escape(described['info']['description'])}</p>",
        "<p>The same for programs: <a href=openapi.json>openapi.json</a></p>",
    ]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            parts.extend(_operation(method.upper(), path, operation))
    return "\n".join(parts) + "\n</html>\n"


def _operation(method: str, path: str, operation: Json) -> Iterator[str]:
    yield f"<h2>{method} {escape(path)}</h2><p>{_text(operation['summary'])}</p>"
    if parameters := operation.get("parameters"):
        rows = ((entry["name"], entry["schema"], f"{entry['in']}: {entry['description']}") for entry in parameters)
        yield _table(rows)
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        properties = content["schema"]["properties"]
        rows = ((name, schema, schema.get("description", "")) for name, schema in properties.items())
        yield f"<details><summary><code>{kind}</code></summary>{_table(rows)}</details>"
    answers = ", ".join(f"{status} {escape(answer['description'].lower())}"
                        for status, answer in operation["responses"].items())
    yield f"<p>Answers: {answers}.</p>"


def _table(rows: Iterator[tuple[str, Json, str]]) -> str:
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(_kind(schema))}<td>"
        f"{escape(default_text(schema.get('default')))}<td>{_text(text)}" for name, schema, text in rows)
    return f"<table><tr><th>name<th>takes<th>default<th>meaning{lines}</table>"


def _kind(schema: Mapping[str, object]) -> str:
    """A schema in a few words."""
    if "enum" in schema:
        values = [str(value) for value in schema["enum"] if value is not None]  # type: ignore[attr-defined]
        return ", ".join(values if len(values) <= 12 else [*values[:4], f"... {len(values)} values"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(entry) for entry in schema["anyOf"]))  # type: ignore[attr-defined]
    kinds = schema.get("type", "")
    text = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if low is not None or high is not None:
        text += f", {'' if low is None else low} to {'' if high is None else high}"
    return text + (f", at most {schema['maxLength']} characters" if "maxLength" in schema else "")


def _text(text: str) -> str:
    """Escaped, with `code`."""
    pieces = escape(text, quote=False).split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))
