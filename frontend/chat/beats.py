"""A pulse beside an iterator: who waits for its items can say at steady intervals that it is still there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def with_beats(
    source: AsyncGenerator[T, None], seconds: float, until: float
) -> AsyncGenerator[T | None, None]:
    """The items of `source`, and None every `seconds` however often they come; closes `source` at the end.

    Errors: TimeoutError when the loop's time is past `until`.
    """
    loop = asyncio.get_running_loop()
    beat = loop.time() + seconds
    async with aclosing(source):
        while True:
            upcoming = asyncio.ensure_future(anext(source))
            try:
                while not upcoming.done():
                    now = loop.time()
                    if now >= until:
                        raise TimeoutError
                    if now >= beat:
                        beat = now + seconds  # a consumer that was held up gets one beat, not all that it missed
                        yield None
                        continue
                    await asyncio.wait((upcoming,), timeout=min(beat, until) - now)
            except BaseException:
                upcoming.cancel()
                await asyncio.gather(upcoming, return_exceptions=True)
                raise
            try:
                item = upcoming.result()
            except StopAsyncIteration:
                return
            yield item
