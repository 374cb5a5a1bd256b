"""The `.env` file."""

from __future__ import annotations

from pathlib import Path


def read_dotenv(path: Path | None) -> dict[str, str]:
    """NAME=value lines of a `.env` file; quotes around a value and a leading `export` are dropped; no file = empty."""
    if path is None or not path.is_file():
        return {}
    result: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, sign, value = line.strip().removeprefix("export ").partition("=")
        if not sign or name.startswith("#"):
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        result[name.strip()] = value
    return result
