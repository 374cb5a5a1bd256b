"""The table as docs/settings.md."""

from __future__ import annotations

from .table import HINTS, TABLE


def docs() -> str:
    """docs/settings.md as text."""
    lines = [
        "# Settings", "",
        "Written by `python -m frontend.settings --docs` from `frontend/settings/table.py`.",
        "",
        "Precedence: command line, environment, `.env` in the working directory, default. Empty means not set.",
        "A line of `.env` is `NAME=value`; ` #` begins a comment unless it is quoted, and a `$` is a `$`.",
        "An invalid value stops the start with one line that names the setting and its range.", "",
        "| variable | also | flag | default | range | meaning |", "| --- | --- | --- | --- | --- | --- |",
    ]
    for setting in TABLE:
        aliases = ", ".join(f"`{name}`" for name in setting.aliases)
        numbers = setting.range_text().replace("between ", "").replace(" and ", " to ").strip()
        allowed = ", ".join(f"`{c}`" for c in setting.choices) or numbers
        default = "" if setting.default is None else f"`{setting.default}`"
        cells = (f"`{setting.name}`", aliases, f"`{setting.flag}`", default, allowed, setting.help)
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## Accepted without effect", "", "Setting one of these prints a warning with the reason.", "",
              "| variable | why it does nothing here |", "| --- | --- |"]
    lines += [f"| `{hint.name}` | {hint.why} |" for hint in HINTS]
    return "\n".join(lines) + "\n"
