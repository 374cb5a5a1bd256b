"""The line to a request's caller: what is said to it, and what becomes of a song when nobody listens any more."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from threading import Lock
from typing import Any, TypeVar

from .errors import CANCELLED, SongError

T = TypeVar("T")
# Seconds between two looks at a caller, and how many callers are looked at in a second, however many there are.
LOOK = 0.05
LOOKS_PER_SECOND = 500


class Line:
    """One request's response sender, for use by any thread.

    After the last response the sender is left alone: Triton 2.51 looks into freed memory when it is asked whether the
    caller has left, and dies. The lock keeps that question out while a response goes as well.
    """

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._lock = Lock()
        self._is_closed = False

    def send(self, response: Any, flags: int = 0) -> None:
        """One response, the last one if there are flags; none after the last."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = bool(flags)
                self._sender.send(response, flags=flags)

    def has_left(self) -> bool:
        """Whether the caller is known to have left; False while something is being sent, without waiting for it."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return not self._is_closed and bool(self._sender.is_cancelled())
        finally:
            self._lock.release()


class Attendance:
    """Looks whether callers are there, and ends the work of those who have left, whatever it waits for."""

    def __init__(self, look: float = LOOK) -> None:
        self._look = look
        self._callers = 0

    async def during(self, work: Coroutine[Any, Any, T], has_left: Callable[[], bool]) -> T:
        """The result of the work. Errors: the work's own; 499 when the caller has left, once the work has let go."""
        task = asyncio.create_task(work)
        self._callers += 1
        try:
            while not (await asyncio.wait({task}, timeout=max(self._look, self._callers / LOOKS_PER_SECOND)))[0]:
                if has_left():
                    break
        finally:
            self._callers -= 1
            is_left = not task.done()
            task.cancel()
        if not is_left:
            return task.result()
        await asyncio.wait({task})
        if not task.cancelled() and task.exception() is None:
            return task.result()
        raise SongError(CANCELLED, "the song was cancelled")


async def let_end(work: Awaitable[T]) -> T:
    """The result of something that cannot be taken back: a song that is cancelled meanwhile goes when it has ended."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # nobody is there to hear of it
        raise
