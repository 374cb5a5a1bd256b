"""A song's 5 Hz audio codes as the text that clients get, and may send back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def code_texts(result: Mapping[str, Any]) -> list[str] | None:
    """The codes of each audio of a stored result as text; None for a song that followed none."""
    codes: Sequence[Sequence[int]] | None = result.get("codes")  # results of before have no such key
    return None if codes is None else ["".join(f"<|audio_code_{code}|>" for code in item) for item in codes]
