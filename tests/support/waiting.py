"""Waiting for what nobody can be asked to wait for, and counting who else gets a turn meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Returns as soon as the condition holds. Errors: TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what it looks at tells nobody when it changes
            await asyncio.sleep(0.01)


@asynccontextmanager
async def counted_turns() -> AsyncIterator[list[int]]:
    """A list whose one number is how many turns of the event loop another task has had so far."""
    turns = [0]

    async def others() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    try:
        yield turns
    finally:
        other.cancel()
