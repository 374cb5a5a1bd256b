"""What jobs say while they are made: a worker tells, followers listen, each at its own pace and with a bounded past.

Everything here belongs to one process and one event loop; what must survive is in the job store.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from .jobs.job import Job
from .songs.events import Metadata, Planning, Step

_KEPT_ENTRIES = 4096
_KEPT_ENDED = 64
END = "end"  # the id of a job's last event, in every process


@dataclass(frozen=True)
class Queued:
    """The job waits; 1 is the next of the queue."""

    position: int


@dataclass(frozen=True)
class Started:
    """A worker makes the song; what an earlier attempt said of it is void."""

    attempt: int


@dataclass(frozen=True)
class Retrying:
    """The attempt failed; the job goes back to its place in the queue for `seconds` at least."""

    reason: str
    seconds: float


@dataclass(frozen=True)
class Ended:
    """Last event: the job as it succeeded or failed."""

    job: Job


Said = Started | Retrying | Metadata | Planning | Step
Event = Said | Queued | Ended


@dataclass(frozen=True)
class Entry:
    """An event and its id, for a follower that comes back; events that a newer one will replace have none."""

    id: str
    event: Event


@dataclass
class _Log:
    """A job's past. `moves` counts changes of its state, which the store alone knows for sure.

    `is_past`: it ended long ago, and the last follower to leave takes the log with him.
    """

    entries: deque[tuple[int, Said]] = field(default_factory=lambda: deque(maxlen=_KEPT_ENTRIES))
    count: int = 0
    moves: int = 0
    followers: int = 0
    is_past: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, event: Said) -> None:
        """Append; of steps of one phase that follow each other only the last is kept."""
        self.count += 1
        last = self.entries[-1][1] if self.entries else None
        if isinstance(event, Step) and isinstance(last, Step) and event.phase == last.phase:
            self.entries.pop()
        self.entries.append((self.count, event))
        self.notify()

    def notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Live:
    """The logs of the jobs that run here, of the last few that ended, and of those that somebody follows."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(4)
        self._logs: dict[str, _Log] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()

    def say(self, job_id: str, event: Said) -> None:
        """Tell the job's followers, now and later."""
        log = self._logs.setdefault(job_id, _Log())
        if isinstance(event, (Started, Retrying)):
            log.moves += 1
            log.is_past = False  # another process had it meanwhile
            self._ended.pop(job_id, None)
        log.add(event)

    def end(self, job_id: str) -> None:
        """Nothing more will be said here of the job: it has ended, by the store, or another process has it."""
        log = self._logs.setdefault(job_id, _Log())
        log.moves += 1
        log.notify()
        self._ended[job_id] = None
        self._ended.move_to_end(job_id)
        while len(self._ended) > _KEPT_ENDED:
            old, _ = self._ended.popitem(last=False)
            if past := self._logs.get(old):
                past.is_past = True
                self._forget(old)

    @contextmanager
    def listen(self, job_id: str, after: str = "") -> Iterator[Listener]:
        """What is said of a job after the entry with that id; of an id that is not known here, all that is kept."""
        log = self._logs.setdefault(job_id, _Log())
        log.followers += 1
        try:
            yield Listener(log, self._process, after)
        finally:
            log.followers -= 1
            if log.is_past or (not log.entries and job_id not in self._ended):
                self._forget(job_id)

    def followers(self) -> int:
        """How many listen now."""
        return sum(log.followers for log in self._logs.values())

    def _forget(self, job_id: str) -> None:
        log = self._logs.get(job_id)
        if log is not None and not log.followers:
            del self._logs[job_id]


class Listener:
    """One follower's place in a job's log."""

    def __init__(self, log: _Log, process: str, after: str) -> None:
        self._log = log
        self._process = process
        self._seen = 0
        self._moves = log.moves
        source, _, count = after.partition("-")
        if source == process:
            with suppress(ValueError):
                self._seen = int(count)

    def take(self) -> list[Entry]:
        """What was said since the last time."""
        self._moves = self._log.moves
        news = [Entry(f"{self._process}-{count}", event) for count, event in self._log.entries if count > self._seen]
        self._seen = self._log.count
        return news

    async def more(self, seconds: float) -> list[Entry]:
        """The next news; empty after `seconds` of silence and when the job's state has changed: look into the store."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._seen >= self._log.count and self._moves == self._log.moves:
                    await self._log.changed.wait()
        return self.take() if self._moves == self._log.moves else []
