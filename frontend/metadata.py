"""Readers of a song's metadata, which take what results say of it as it stands.

Words and numbers that mean "not set" there are UNSET: the field is as if it had not been sent.
"""

from __future__ import annotations

import re
from typing import Any

from . import musicality
from .coerce import UNSET, Reader, number, takes, text, whole

SHORTEST, LONGEST = 10, 600  # seconds
DURATION_RANGE = f"must be between {SHORTEST} and {LONGEST}"
_NOT_SET = frozenset({"", "n/a", "none", "null", "auto", "unknown"})
_BPM = re.compile(r"(.*[\d.])\s*bpm", re.IGNORECASE)
_SECONDS = re.compile(r"(.*[\d.])\s*s(?:ec(?:ond)?s?)?", re.IGNORECASE)
_beats, _float, _word = whole(30, 300), number(float("-inf"), float("inf")), text(64, trim=True)
_TEXT = {"type": "string", "maxLength": 64}
_ZEROS = {"enum": [0, -1]}


def is_not_set(value: object) -> bool:
    """Whether a value is one of the words and numbers for "not set": those of all metadata but languages."""
    return is_word_for_nothing(value) or _is_zero(value)


def is_word_for_nothing(value: object) -> bool:
    """Whether a text is one of those words."""
    return isinstance(value, str) and value.strip().lower() in _NOT_SET


def _is_zero(value: object) -> bool:
    """0, or the -1 that stands for no value."""
    try:
        return not isinstance(value, bool) and _float(value) in (0, -1)
    except ValueError:
        return False


def _metadata(read: Reader, **schema: Any) -> Reader:
    """`read`, but UNSET for what means that."""

    @takes(**schema)
    def read_set(value: object) -> Any:
        return UNSET if is_not_set(value) else read(value)

    return read_set


def _without(unit: re.Pattern[str], value: object) -> object:
    """The number that stands before a unit; anything else as it is."""
    found = unit.fullmatch(value.strip()) if isinstance(value, str) else None
    return value if found is None else found[1]


def _seconds(value: object) -> Any:
    """Seconds of at most LONGEST; below SHORTEST only songs are whose length something else decides."""
    result = _float(_without(_SECONDS, value))
    if result <= 0:
        return UNSET
    if result > LONGEST:
        raise ValueError(DURATION_RANGE)
    return float(result)


def _language(value: object) -> Any:
    word = _word(value)
    return word.lower() if word.lower() == "unknown" else UNSET if is_not_set(word) else musicality.language(word)


bpm = _metadata(
    lambda value: _beats(_without(_BPM, value)), description="whole, 30 to 300; also `120 BPM`",
    anyOf=[{"type": "integer", "minimum": 30, "maximum": 300}, _TEXT, _ZEROS])
duration = _metadata(
    _seconds, description="10 to 600, also `30 s`; 0 and less: the server chooses",
    anyOf=[{"type": "number", "maximum": 600}, _TEXT])
key_scale = _metadata(lambda value: musicality.key_scale(_word(value)), description="text", anyOf=[_TEXT, _ZEROS])
time_signature = _metadata(
    lambda value: musicality.time_signature(_word(value)), description="2, 3, 4, 6, 2/4, 3/4, 4/4, 6/8",
    anyOf=[_TEXT, {"enum": [2, 3, 4, 6, 0, -1]}])
language = takes(
    description=f"{', '.join(musicality.LANGUAGES[:4])}, ... ({len(musicality.LANGUAGES)} codes), tags (`zh-CN`), "
    "English names",
    anyOf=[_TEXT, _ZEROS])(_language)
