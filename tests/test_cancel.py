"""A caller who leaves ends its song within a step, and takes nobody along."""

import asyncio
import re

import httpx
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
