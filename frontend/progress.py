"""How far a song is: one percentage over all its phases."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from .jobs.job import Progress

# Where each phase begins, in percent; rough shares of the time on a machine that is busy with one song.
_WITHOUT_CODES = {"plan": 0, "encode": 6, "condition": 8, "denoise": 10, "decode": 75, "write": 96}
_OF_ANALYSIS = {"encode": 0, "plan": 40}
_WITH_CODES = {"plan": 0, "codes": 5, "encode": 38, "condition": 40, "denoise": 42, "decode": 85, "write": 97}


def percent(song: Mapping[str, Any], progress: Progress) -> int:
    """0 to 99 for a running song; a phase that is not known says nothing, so 0."""
    makes_codes = song.get("thinking") and not song.get("codes") and song.get("task") == "text2music"
    makes_song = song.get("kind", "song") == "song"
    begins = _OF_ANALYSIS if not makes_song else _WITH_CODES if makes_codes else _WITHOUT_CODES
    for (phase, begin), (_, end) in pairwise([*begins.items(), ("", 99)]):
        if phase == progress.phase:
            return int(begin + (end - begin) * min(1.0, progress.done / max(1, progress.total)))
    return 0
