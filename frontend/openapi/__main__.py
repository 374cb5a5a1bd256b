"""`python -m frontend.openapi docs/api.md`: the file with its generated tables made anew, on standard output.

A table stands between `<!-- made: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from frontend.coerce import schema_of
from frontend.fields import Field
from frontend.native.fields import TABLE

from . import chat, native
from .operation import Operation
from .schema import default_text, values_text

_MADE = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str) -> str:
    """`text` with every generated table as it is now."""
    made = {
        "native_routes": _routes(native.operations()), "chat_routes": _routes(chat.operations()),
        "native_fields": _fields(TABLE),
    }
    return _MADE.sub(lambda found: f"{found[1]}{made[found[2]]}{found[3]}", text)


def _routes(operations: Iterable[Operation]) -> str:
    rows = [f"| `{each.method} {each.path}` | {each.answers} |" for each in operations]
    return "\n".join(["| route | answers |", "| --- | --- |", *rows, ""])


def _fields(table: Iterable[Field]) -> str:
    rows = []
    for entry in table:
        schema = schema_of(entry.read)
        also = ", ".join(f"`{name}`" for name in entry.also)
        cells = (f"`{entry.name}`", also, "yes" if entry.nested else "", values_text(schema),
                 default_text(entry.default), entry.help)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    head = ("| field | also | in `metas` | values | default | meaning |", "| --- | --- | --- | --- | --- | --- |")
    return "\n".join([*head, *rows, ""])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m frontend.openapi docs/api.md")
    sys.stdout.write(render(Path(sys.argv[1]).read_text(encoding="utf-8")))
