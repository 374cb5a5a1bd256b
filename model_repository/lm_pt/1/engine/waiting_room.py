"""Requests that wait: halves of a pair for each other, whole generations for their turn."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.request import Request
from lm_guidance.contract import RequestError
from lm_guidance.recent_ids import RecentIds

REMEMBERED = 10_000  # pair ids and cancelled songs


@dataclass(frozen=True)
class Generation:
    """Requests that get the same tokens: one alone, or a conditional one and then its unconditional partner."""

    requests: Sequence[Request]

    @property
    def is_wanted(self) -> bool:
        """Whether all of its requests are open: what ends one half ends both."""
        return all(request.is_open for request in self.requests)

    def abort(self) -> None:
        """Ends what is still open."""
        for request in self.requests:
            request.finish("abort")


@dataclass(frozen=True)
class _Half:
    request: Request
    deadline: float


class WaitingRoom:
    """Every request of an engine that is not done; generations leave it in order of arrival. Safe from any thread."""

    def __init__(self, patience: float) -> None:
        """`patience`: seconds that a half waits for its partner."""
        self._patience = patience
        self._changed = threading.Condition()
        self._halves: dict[str, _Half] = {}
        self._line: deque[Generation] = deque()
        self._running: Generation | None = None
        self._pairs = RecentIds(REMEMBERED)
        self._cancelled = RecentIds(REMEMBERED)
        self._closed = False

    @property
    def is_closed(self) -> bool:
        return self._closed

    def admit(self, request: Request) -> None:
        """Parks a first half, lines up what is whole; RequestError for a half that fits no other."""
        spec = request.ask.spec
        with self._changed:
            if self._closed or spec.song in self._cancelled:  # a cancel may overtake what it cancels
                request.finish("abort")
            elif spec.pair is None:
                self._line.append(Generation([request]))
            elif half := self._halves.pop(spec.pair, None):
                self._line.append(_pair(half.request, request))
            elif spec.pair in self._pairs:
                raise RequestError("pair: this id has been used before")
            else:
                self._pairs.add(spec.pair)
                self._halves[spec.pair] = _Half(request, time.monotonic() + self._patience)
            self._changed.notify_all()

    def next(self, timeout: float) -> Generation | None:
        """The next generation, which then counts as running; None if there is none within `timeout` seconds."""
        with self._changed:
            self._running = None
            self._changed.wait_for(lambda: self._closed or len(self._line) > 0, timeout)
            self._running = self._line.popleft() if self._line else None
            return self._running

    def sweep(self) -> None:
        """Ends the halves that have waited too long."""
        with self._changed:
            now = time.monotonic()
            for pair, half in list(self._halves.items()):
                if now > half.deadline or not half.request.is_open:
                    del self._halves[pair]
                    half.request.finish("abort")

    def cancel(self, song: str) -> None:
        """Ends every request of this song, also those that are still to come."""
        with self._changed:
            self._cancelled.add(song)
            ended = self._requests_of(song)
        for request in ended:
            request.finish("abort")

    def knows(self, song: str) -> bool:
        """Whether a request of this song is open."""
        with self._changed:
            return any(request.is_open for request in self._requests_of(song))

    def close(self) -> None:
        """Ends everything, and whatever still comes."""
        with self._changed:
            self._closed = True
            ended = list(self._requests())
            self._changed.notify_all()
        for request in ended:
            request.finish("abort")

    def _requests_of(self, song: str) -> list[Request]:
        return [request for request in self._requests() if request.ask.spec.song == song]

    def _requests(self) -> Iterator[Request]:
        yield from (half.request for half in self._halves.values())
        for generation in (*self._line, *([self._running] if self._running else [])):
            yield from generation.requests


def _pair(first: Request, second: Request) -> Generation:
    if not first.ask.spec.matches(second.ask.spec) or first.ask.max_tokens != second.ask.max_tokens:
        error = RequestError("pair: its two halves disagree")
        first.fail(error)
        raise error
    return Generation(sorted([first, second], key=lambda request: request.ask.spec.role != "conditional"))
