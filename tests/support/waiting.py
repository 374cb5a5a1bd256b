"""Waiting for what nobody can be asked to wait for."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Returns as soon as the condition holds. Errors: TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what it looks at tells nobody when it changes
            await asyncio.sleep(0.01)
