"""How long each phase of a start took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Named durations in the order they ran."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures the block."""
        started = time.monotonic()
        yield
        self._seconds[name] = time.monotonic() - started

    def line(self) -> str:
        """`checks 0.1 s | export 1.2 s | ... | total 3.4 s`."""
        parts = [f"{name} {seconds:.1f} s" for name, seconds in self._seconds.items()]
        return " | ".join([*parts, f"total {time.monotonic() - self._began:.1f} s"])
