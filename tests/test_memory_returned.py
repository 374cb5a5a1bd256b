"""A long song's memory is given back: soon after it no process of the stack holds what only that song needed."""

from __future__ import annotations

import asyncio
import time

import pytest

from bench.memory import PeakMemory, usage
from tests.conftest import StartStack
from tests.pipeline_client import sing
from tests.support.cases import BASE

DIT = f"{BASE}-dit"
RETURNED = 1.2
# What a heap may keep besides, in MiB: of a process of 30 MiB a fifth is a few blocks.
BLOCKS = 12.0


@pytest.mark.slow
def test_a_minute_after_a_long_song_its_memory_is_back(start_stack: StartStack) -> None:
    running = start_stack(frontend=False)
    song = {"model": BASE, "caption": "choir", "steps": 2, "guidance_scale": 5.0, "seeds": [1]}
    asyncio.run(_sing(running.triton_grpc, song | {"duration": 10}))
    time.sleep(10)
    before = usage(running.pid)
    with PeakMemory(running.pid, running.shm_prefix, interval=0.1) as memory:
        asyncio.run(_sing(running.triton_grpc, song | {"duration": 300}))
    assert memory.processes[DIT] > 10 * before[DIT].own, "the song was not long enough to show anything"
    deadline = time.monotonic() + 60
    while (kept := _kept(before, running.pid)) and time.monotonic() < deadline:
        time.sleep(1)
    assert not kept, f"MiB before and after: {kept}"


async def _sing(grpc: str, song: dict) -> None:
    assert (await sing(grpc, **song)).done


def _kept(before: dict, root: int) -> dict[str, tuple[int, int]]:
    """Processes that hold more than they may, with their MiB before and now."""
    now = usage(root)
    return {name: (round(held.own), round(now[name].own)) for name, held in before.items()
            if now[name].own > RETURNED * held.own + BLOCKS}
