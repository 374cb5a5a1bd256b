"""What the HTTP layer answers instead of a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class RequestError(Exception):
    """A request that gets `status` and `{"detail": detail}`; `detail` is one line without paths of this machine."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.detail
