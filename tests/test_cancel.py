"""A caller who leaves ends its song within a step, and takes nobody along."""

import asyncio
import re
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
from tritonclient.grpc.aio import InferenceServerClient

from tests.pipeline_client import sing, stream


async def counter(stack, name: str, label: str = "") -> float:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{stack.triton_metrics}/metrics")).text
    found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for labels, value in found if label in labels)


async def test_leaving_between_steps(stack):
    before = await counter(stack, "acestep_songs_total", 'outcome="499"')
    neighbour = asyncio.create_task(sing(stack.triton_grpc, caption="stays", duration=20, seeds=[3], steps=20))
    async with InferenceServerClient(stack.triton_grpc) as client:
        events = stream(client, {"caption": "leaves", "duration": 120, "seeds": [1] * 8, "steps": 20})
        async for event, _ in events:
            if event.get("phase") == "denoise":
                steps = event["total"]
                break
        await events.aclose()
    rows = await counter(stack, "acestep_dit_rows_total")
    kept = await neighbour
    assert kept.audio().shape == (2, 960_000)
    for _ in range(50):
        if await counter(stack, "acestep_songs_total", 'outcome="499"') > before:
            break
        await asyncio.sleep(0.1)
    assert await counter(stack, "acestep_songs_total", 'outcome="499"') == before + 1
    assert await counter(stack, "acestep_songs_in_flight") == 0
    # The neighbour's steps, and at most one more step of each of the eight items.
    assert await counter(stack, "acestep_dit_rows_total") - rows <= 20 + 8 < steps


async def test_leaving_at_any_moment_harms_nobody(stack):
    """Songs of every kind, left at every phase and while they wait: the pipeline is the same process afterwards."""
    upload = np.full((2, 12 * 48_000), 0.1, np.float32)
    kinds: list[dict[str, Any]] = [
        {"task": "cover", "src_audio": upload}, {"codes": [[7] * 50]}, {"reference_audio": upload},
        {"task": "repaint", "src_audio": upload, "repaint_start": 2, "repaint_end": 5}, {"seeds": [1] * 8}]
    async with InferenceServerClient(stack.triton_grpc) as client:
        before = await identity(client)

        async def leave(number: int) -> None:
            request = {"caption": "leaves", "duration": 12, "seeds": [number], "steps": 8} | kinds[number % len(kinds)]
            events = stream(client, request)
            with suppress(TimeoutError, StopAsyncIteration):
                async with asyncio.timeout(0.08 * number):
                    while True:
                        await anext(events)
            await events.aclose()

        await asyncio.gather(*(leave(number) for number in range(20)))
        async with asyncio.timeout(10):
            while await counter(stack, "acestep_songs_in_flight"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await sing(stack.triton_grpc, caption="stays", duration=10, seeds=[3])).audio().shape == (2, 480_000)
        assert await identity(client) == before


async def identity(client: InferenceServerClient) -> str:
    async for event, _ in stream(client, {"kind": "ping"}):
        return str(event["instance"])
    raise AssertionError("no answer")
