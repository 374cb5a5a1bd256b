"""Readers: what a client sent for one field becomes a typed value, or a ValueError that states the allowed range.

JSON may carry numbers as text and forms carry nothing else, so every reader takes both. null and blank text never
reach a reader: they mean the field's default, and so does a value for which a reader answers UNSET. Every reader has a
JSON Schema of what it takes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any, Final
from weakref import WeakKeyDictionary

from frontend import musicality

Reader = Callable[[object], Any]
Schema = Mapping[str, Any]
LAST_CODE = 63_999
MAX_CODES = 3_000  # five for each second
_LARGEST_SEED = 2**63 - 1
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_CODE = re.compile(r"<\|audio_code_([0-9]+)\|>")
_CODE_TEXT = 100_000
_SCHEMAS: WeakKeyDictionary[Reader, Schema] = WeakKeyDictionary()
UNSET: Final = object()
TRUE_WORDS = frozenset({"1", "true", "yes", "y", "on"})


def takes(**schema: Any) -> Callable[[Reader], Reader]:
    """Marks a reader with the JSON Schema of its good values."""

    def mark(read: Reader) -> Reader:
        _SCHEMAS[read] = schema
        return read

    return mark


def schema_of(read: Reader) -> Schema:
    """The JSON Schema of what `read` takes."""
    return _SCHEMAS[read]


@takes(type="boolean")
def flag(value: object) -> bool:
    """A JSON bool as it is; of texts and numbers `1 true yes y on` are true and all else is false (as documented)."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (str, int, float)):
        return str(value).strip().lower() in TRUE_WORDS
    raise ValueError("must be true or false")


def text(limit: int, *, trim: bool = False) -> Reader:
    """Text of at most `limit` characters, its lines ended by LF alone; a number becomes its text."""

    @takes(type="string", maxLength=limit)
    def read(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError("must be text")
        result = unix_lines(str(value))
        if len(result) > limit:
            raise ValueError(f"must have at most {limit} characters")
        try:
            result.encode()
        except UnicodeEncodeError:
            raise ValueError("must be valid Unicode text") from None
        return result.strip() if trim else result

    return read


def unix_lines(value: str) -> str:
    """The text with LF in place of CRLF and lone CR, which browsers' forms and Windows send."""
    return value.replace("\r\n", "\n").replace("\r", "\n")


def number(low: float, high: float) -> Reader:
    """A float within [low, high]."""

    @takes(type="number", minimum=low, maximum=high)
    def read(value: object) -> float:
        result = _float(value)
        if not low <= result <= high:
            raise ValueError(f"must be between {low:g} and {high:g}")
        return result

    return read


def number_above(low: float) -> Reader:
    """A finite float above `low`."""

    @takes(type="number", exclusiveMinimum=low)
    def read(value: object) -> float:
        result = _float(value)
        if result <= low:
            raise ValueError(f"must be above {low:g}")
        return result

    return read


def number_from(low: float) -> Reader:
    """A finite float not below `low`."""

    @takes(type="number", minimum=low)
    def read(value: object) -> float:
        result = _float(value)
        if result < low:
            raise ValueError(f"must be at least {low:g}")
        return result

    return read


def whole(low: int, high: int) -> Reader:
    """An integer within [low, high]; 120.0 and "120.0" are 120."""

    @takes(type="integer", minimum=low, maximum=high)
    def read(value: object) -> int:
        result = _whole(value)
        if not low <= result <= high:
            raise ValueError(f"must be between {low} and {high}")
        return result

    return read


def whole_from(low: int) -> Reader:
    """An integer not below `low`."""

    @takes(type="integer", minimum=low)
    def read(value: object) -> int:
        result = _whole(value)
        if result < low:
            raise ValueError(f"must be at least {low}")
        return result

    return read


def choice(*allowed: str) -> Reader:
    """One of `allowed`, in any case."""

    @takes(type="string", enum=list(allowed))
    def read(value: object) -> str:
        result = value.strip().lower() if isinstance(value, str) else ""
        if result not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return result

    return read


# Those that upstream offers; db1 is PyWavelets' other name of haar.
_WAVELETS = ("haar", "db1", "db2", "db4", "sym4", "sym8", "coif2")


@takes(type="string", enum=list(_WAVELETS))
def wavelet(value: object) -> str:
    """A wavelet by PyWavelets' name; that only haar is built is no matter of reading it."""
    name: str = choice(*_WAVELETS)(value)
    return "haar" if name == "db1" else name


@takes(anyOf=[
    {"type": "integer", "minimum": -1, "maximum": _LARGEST_SEED}, {"type": "string"},
    {"type": "array", "items": {"type": "integer", "minimum": -1, "maximum": _LARGEST_SEED}},
])
def seeds(value: object) -> tuple[int, ...]:
    """One seed, a comma list or a JSON list; -1 is a random one. Those above 2^32-1 are still to be folded."""
    result = tuple(_whole(part) for part in _split(value))
    if not result or any(not -1 <= seed <= _LARGEST_SEED for seed in result):
        raise ValueError(f"must be between 0 and {_LARGEST_SEED}, or -1 for a random seed")
    return result


@takes(anyOf=[
    {"type": "string"}, {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}, "maxItems": 201},
])
def timesteps(value: object) -> tuple[float, ...]:
    """A decreasing comma list or JSON list in (0, 1]; one trailing 0 is allowed."""
    result = tuple(_float(part) for part in _split(value))
    steps = result[:-1] if result and result[-1] == 0 else result
    if not 1 <= len(steps) <= 200:
        raise ValueError("must have 1 to 200 values above 0")
    if any(not 0 < t <= 1 for t in steps):
        raise ValueError("must be between 0 and 1, with 0 only at the end")
    if any(later >= earlier for earlier, later in pairwise(steps)):
        raise ValueError("must decrease")
    return result


@takes(description="a text, or a list of them", anyOf=[
    {"type": "string", "maxLength": _CODE_TEXT},
    {"type": "array", "items": {"type": "string", "maxLength": _CODE_TEXT}, "maxItems": 8},
])
def codes(value: object) -> tuple[tuple[int, ...], ...]:
    """5 Hz audio codes of every item out of texts with <|audio_code_N|> tokens: one text, or a list of them."""
    return tuple(_codes(text(_CODE_TEXT)(part)) for part in _listed(value))


@takes(anyOf=[
    {"type": "string"}, {"type": "array", "items": {"type": "string", "enum": list(musicality.TRACKS)}},
])
def tracks(value: object) -> tuple[str, ...]:
    """Names of tracks: a comma list or a JSON list, in any case, with blanks or underscores."""
    names = (text(400, trim=True)(part) for part in _split(value))
    return tuple(dict.fromkeys(musicality.track(name) for name in names if name))


def _listed(value: object) -> list[object]:
    """A list as it is, also when a form sends it as JSON text; anything else as the only entry of one."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    return value if isinstance(value, list) else [value]


def _split(value: object) -> list[object]:
    """The entries of a comma list or of any other list."""
    parts = _listed(value)
    return [entry for part in parts for entry in (part.split(",") if isinstance(part, str) else [part])]


def _codes(tokens: str) -> tuple[int, ...]:
    found = _CODE.findall(tokens)
    if not 1 <= len(found) <= MAX_CODES:
        raise ValueError(f"must have 1 to {MAX_CODES} <|audio_code_N|> tokens")
    # Six digits are out of range already, whatever follows; Python need not read thousands of them.
    values = tuple(int(digits.lstrip("0")[:6] or "0") for digits in found)
    if max(values) > LAST_CODE:
        raise ValueError(f"must have codes between 0 and {LAST_CODE}")
    return values


def _float(value: object) -> float:
    if isinstance(value, (str, int, float)) and not (isinstance(value, str) and "_" in value):
        try:
            result = float(value)
        except (ValueError, OverflowError):
            result = math.nan
        if math.isfinite(result):
            return result
    raise ValueError("must be a number")


def _whole(value: object) -> int:
    if isinstance(value, int) or (isinstance(value, str) and _WHOLE.fullmatch(value.strip())):
        return int(value)  # exactly, which a float of its digits is not
    try:
        result = _float(value)
    except ValueError:
        raise ValueError("must be a whole number") from None
    if not result.is_integer():
        raise ValueError("must be a whole number")
    return int(result)
