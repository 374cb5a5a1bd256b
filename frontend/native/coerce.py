"""Readers: what a client sent for one field becomes a typed value, or a ValueError that states the allowed range.

JSON may carry numbers as text and forms carry nothing else, so every reader takes both. null and blank text never
reach a reader: they mean the field's default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from frontend import musicality

Reader = Callable[[object], Any]
TRUE_WORDS = frozenset({"1", "true", "yes", "y", "on"})


def flag(value: object) -> bool:
    """A JSON bool as it is; of texts and numbers `1 true yes y on` are true and all else is false (as documented)."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (str, int, float)):
        return str(value).strip().lower() in TRUE_WORDS
    raise ValueError("must be true or false")


def text(limit: int, *, trim: bool = False) -> Reader:
    """Text of at most `limit` characters; a number becomes its text."""

    def read(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError("must be text")
        result = str(value)
        if len(result) > limit:
            raise ValueError(f"must have at most {limit} characters")
        try:
            result.encode()
        except UnicodeEncodeError:
            raise ValueError("must be valid Unicode text") from None
        return result.strip() if trim else result

    return read


def number(low: float, high: float) -> Reader:
    """A float within [low, high]."""

    def read(value: object) -> float:
        result = _float(value)
        if not low <= result <= high:
            raise ValueError(f"must be between {low:g} and {high:g}")
        return result

    return read


def number_above(low: float) -> Reader:
    """A finite float above `low`."""

    def read(value: object) -> float:
        result = _float(value)
        if result <= low:
            raise ValueError(f"must be above {low:g}")
        return result

    return read


def number_from(low: float) -> Reader:
    """A finite float not below `low`."""

    def read(value: object) -> float:
        result = _float(value)
        if result < low:
            raise ValueError(f"must be at least {low:g}")
        return result

    return read


def whole(low: int, high: int) -> Reader:
    """An integer within [low, high]; 120.0 and "120.0" are 120."""

    def read(value: object) -> int:
        result = _whole(value)
        if not low <= result <= high:
            raise ValueError(f"must be between {low} and {high}")
        return result

    return read


def whole_from(low: int) -> Reader:
    """An integer not below `low`."""

    def read(value: object) -> int:
        result = _whole(value)
        if result < low:
            raise ValueError(f"must be at least {low}")
        return result

    return read


def choice(*allowed: str) -> Reader:
    """One of `allowed`, in any case."""

    def read(value: object) -> str:
        result = value.strip().lower() if isinstance(value, str) else ""
        if result not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return result

    return read


def duration(value: object) -> float | None:
    """Seconds between 10 and 600; zero and negative mean that the server chooses."""
    seconds = _float(value)
    if seconds <= 0:
        return None
    if not 10 <= seconds <= 600:
        raise ValueError("must be between 10 and 600")
    return seconds


def seeds(value: object) -> tuple[int, ...]:
    """One seed, a comma list or a JSON list; -1 is a random one."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    result = tuple(_whole(part) for part in parts)
    if not result or any(not -1 <= seed < 2**32 for seed in result):
        raise ValueError(f"must be between 0 and {2**32 - 1}, or -1 for a random seed")
    return result


def timesteps(value: object) -> tuple[float, ...]:
    """A decreasing comma list or JSON list in (0, 1]; one trailing 0 is allowed."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    result = tuple(_float(part) for part in parts)
    steps = result[:-1] if result and result[-1] == 0 else result
    if not 1 <= len(steps) <= 200:
        raise ValueError("must have 1 to 200 values above 0")
    if any(not 0 < t <= 1 for t in steps):
        raise ValueError("must be between 0 and 1, with 0 only at the end")
    if any(later >= earlier for earlier, later in pairwise(steps)):
        raise ValueError("must decrease")
    return result


def codes(value: object) -> tuple[str, ...]:
    """Audio codes: one text, or a list with one text per item."""
    parts = value if isinstance(value, list) else [value]
    return tuple(text(40_000, trim=True)(part) for part in parts)


def key_scale(value: object) -> str:
    return musicality.key_scale(text(64)(value))


def time_signature(value: object) -> str:
    return musicality.time_signature(text(64)(value))


def language(value: object) -> str:
    return musicality.language(text(64)(value))


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
    if isinstance(value, int):
        return int(value)
    try:
        result = _float(value)
    except ValueError:
        raise ValueError("must be a whole number") from None
    if not result.is_integer():
        raise ValueError("must be a whole number")
    return int(result)
