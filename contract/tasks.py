"""The tasks: what each follows, and what the 5 Hz LM does for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class LmPart(StrEnum):
    """What the LM may do for a task's songs."""

    NOTHING = "nothing"
    METADATA = "metadata"
    CODES = "metadata and audio codes"


@dataclass(frozen=True)
class Task:
    """One task.

    `follows_codes`: audio codes may stand in for its source. `is_tokenized`: the DiT follows the source's codes instead
    of its latents. `has_region`: part of the source may be kept. `ends_source`: with a cover strength below 1 the last
    steps follow no source. `starts_at_source`: its noise may begin as a mixture with the source.
    """

    name: str
    lm: LmPart
    needs_source: bool = True
    follows_codes: bool = False
    is_tokenized: bool = False
    has_region: bool = False
    ends_source: bool = True
    starts_at_source: bool = False
    base_only: bool = False


# The LM: upstream 6d467e4 (inference.py, skip_lm_tasks): its caption would replace the task's. Codes are for songs
# without a source alone. repaint's cover strength: docs/behaviour.md, Sampling.
TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task("text2music", LmPart.CODES, needs_source=False, follows_codes=True, ends_source=False),
        Task("cover", LmPart.NOTHING, follows_codes=True, is_tokenized=True, starts_at_source=True),
        Task("cover-nofsq", LmPart.NOTHING, starts_at_source=True),
        Task("repaint", LmPart.NOTHING, has_region=True, ends_source=False),
        Task("lego", LmPart.METADATA, has_region=True, base_only=True),
        Task("extract", LmPart.NOTHING, base_only=True),
        Task("complete", LmPart.METADATA, base_only=True),
    )
}


TASKS_OF_CODES = tuple(task.name for task in TASKS.values() if task.follows_codes)


def tasks_of(is_turbo: bool) -> tuple[str, ...]:
    """Names of the tasks that a turbo model, or one of the others, can do."""
    return tuple(task.name for task in TASKS.values() if not (task.base_only and is_turbo))
