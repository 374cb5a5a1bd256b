"""An iterator with its silences: who waits for the next item can say meanwhile that it is still there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def with_silences(source: AsyncGenerator[T, None], seconds: float) -> AsyncGenerator[T | None, None]:
    """The items of `source`, and None for every `seconds` in which none came; closes `source` at the end."""
    async with aclosing(source):
        while True:
            upcoming = asyncio.ensure_future(anext(source))
            try:
                while not (await asyncio.wait((upcoming,), timeout=seconds))[0]:
                    yield None
            except BaseException:
                upcoming.cancel()
                await asyncio.gather(upcoming, return_exceptions=True)
                raise
            try:
                item = upcoming.result()
            except StopAsyncIteration:
                return
            yield item
