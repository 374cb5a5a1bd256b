"""The `.env` file, as python-dotenv reads it: comments, quotes and `export` are the usual ones."""

from __future__ import annotations

from pathlib import Path

from dotenv.parser import parse_stream

from .setting import SettingsError


def read_dotenv(path: Path | None) -> dict[str, str]:
    """The variables of a `.env` file; no file is an empty one. SettingsError names the first line that is none.

    Nothing is put into the environment, and a `$` in a value is a `$`: a key or a password may have one.
    """
    if path is None or not path.is_file():
        return {}
    result: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for line in parse_stream(file):
                if line.error or (line.key is not None and line.value is None):
                    number = line.original.line + _blank_lines(line.original.string)
                    raise SettingsError(f"{path.name}: line {number} must be NAME=value, its quotes closed")
                if line.key is not None:
                    result[line.key] = line.value or ""
    except UnicodeDecodeError:
        raise SettingsError(f"{path.name}: must be UTF-8 text") from None
    return result


def _blank_lines(text: str) -> int:
    """How many lines there are before the first that is not blank: the parser counts them to what follows."""
    return text[: len(text) - len(text.lstrip())].count("\n")
