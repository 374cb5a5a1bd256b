"""When to try again and when to give up on something that keeps dying."""

from __future__ import annotations

import time
from collections import deque

from embedded.refusal import Refusal


class Deaths:
    """Deaths of one process within the last `window` seconds; the `limit`-th of them is one too many."""

    def __init__(self, name: str, limit: int = 5, window: float = 60.0) -> None:
        self.name = name
        self.limit = limit
        self.window = window
        self._times: deque[float] = deque()

    def record(self, how: str) -> float:
        """Seconds to wait before the next start: 0, 1, 2, 4; Refusal when it is time to give up."""
        now = time.monotonic()
        self._times.append(now)
        while now - self._times[0] > self.window:
            self._times.popleft()
        count = len(self._times)
        if count >= self.limit:
            raise Refusal(f"{self.name} died {count} times within {self.window:.0f} s ({how}): giving up")
        return 0.0 if count == 1 else float(2 ** (count - 2))
