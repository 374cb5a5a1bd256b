"""What a song has where its client says nothing: the documents' values, or those of a later upstream server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .fields import Fields


@dataclass(frozen=True)
class Defaults:
    """`fields` stand in for the defaults of a table of fields, by name; the rest goes to the pipeline as it is.

    `auto_mask` is the pipeline's word for the client's `chunk_mask_mode` auto.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    auto_mask: str = "auto"
    fallback_duration: float = 30.0

    def fill(self, read: Fields) -> Fields:
        """`read` with these defaults in place of what was not sent."""
        unsent = {name: value for name, value in self.fields.items() if name not in read.sent}
        return replace(read, values={**read.values, **unsent})


OURS = Defaults()
# By the value of UPSTREAM_DEFAULTS. 2026-06 is upstream 6d467e4: its masks are booleans, so that auto's 2 is a 1 there.
UPSTREAM: Mapping[str, Defaults] = {
    "2026-06": Defaults(
        {"dcw_enabled": True, "repaint_mode": "balanced", "repaint_strength": 0.5, "chunk_mask_mode": "auto"},
        auto_mask="ones", fallback_duration=120.0),
}


def chosen(name: str | None) -> Defaults:
    """The defaults of that name; None are ours."""
    return OURS if name is None else UPSTREAM[name]
