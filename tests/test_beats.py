"""Signs of life: they come however many events do, not all at once after a delay, and end with the deadline."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from frontend.chat.beats import with_beats


async def items(count: int, seconds: float) -> AsyncGenerator[int, None]:
    for item in range(count):
        await asyncio.sleep(seconds)
        yield item


async def test_beats_come_between_items_that_come_fast() -> None:
    until = asyncio.get_running_loop().time() + 60
    heard = [item async for item in with_beats(items(30, 0.01), 0.05, until)]
    assert [item for item in heard if item is not None] == list(range(30))
    assert heard.count(None) >= 3


async def test_who_was_held_up_hears_one_beat() -> None:
    until = asyncio.get_running_loop().time() + 60
    beating = with_beats(items(1, 0.1), 0.02, until)
    assert await anext(beating) is None
    await asyncio.sleep(0.2)
    heard = [item async for item in beating]
    assert (heard.count(0), heard.count(None) <= 2) == (1, True)


async def test_the_deadline_ends_it() -> None:
    loop = asyncio.get_running_loop()
    source = items(2, 60)
    beating = with_beats(source, 0.02, loop.time() + 0.1)
    assert await anext(beating) is None
    with pytest.raises(TimeoutError):
        [item async for item in beating]
    with pytest.raises(StopAsyncIteration):
        await anext(source)  # closed
