"""Songs of any length, prompt, step and guidance share DiT calls, and none of their bits knows it."""

import asyncio
import re
from typing import Any

import httpx
import numpy as np

from tests.pipeline_client import sing
from tests.support.cases import BASE, tune

SONGS: list[dict[str, Any]] = [
    {"caption": "a", "duration": 10, "steps": 7, "guidance_scale": 5.0, "seeds": [1]},
    {"caption": "b " * 150, "lyrics": "la la\n" * 30, "duration": 11.7, "steps": 9, "guidance_scale": 1, "seeds": [2]},
    {"caption": "c 🎹", "duration": 12.77, "steps": 5, "guidance_scale": 2.0, "use_adg": True, "seeds": [3]},
    {"caption": "d", "duration": 12, "timesteps": [0.9, 0.6, 0.5, 0.2], "cfg_interval": [0.4, 0.7], "seeds": [4]},
    {"caption": "e", "task": "lego", "src_audio": tune(11.3), "steps": 6, "infer_method": "sde", "seeds": [5]},
]


async def rows_and_calls(stack) -> tuple[float, float]:
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"http://{stack.triton_metrics}/metrics")).text
    rows, calls = (
        sum(map(float, re.findall(rf'^{name}{{.*model="{BASE}".*}} (\S+)$', page, re.MULTILINE)))
        for name in ("acestep_dit_rows_total", "acestep_dit_calls_total"))
    return rows, calls


async def test_five_songs_together_are_each_bit_identical_to_themselves_alone(stack):
    asked = [{"model": BASE, "return": ["latents"], **song} for song in SONGS]
    alone = [await sing(stack.triton_grpc, **song) for song in asked]
    before = await rows_and_calls(stack)
    together = await asyncio.gather(*(sing(stack.triton_grpc, **song) for song in asked))
    rows, calls = (after - start for after, start in zip(await rows_and_calls(stack), before, strict=True))
    assert rows / calls > 3, "they did not share calls, so nothing was proved"
    for one, among in zip(alone, together, strict=True):
        np.testing.assert_array_equal(among.latents[0], one.latents[0])
        assert among.audio().tobytes() == one.audio().tobytes()


async def test_each_item_of_a_guided_batch_is_its_seed_alone(stack):
    song = {"model": BASE, "caption": "choir", "task": "complete", "src_audio": tune(5.01), "steps": 3}
    batch = await sing(stack.triton_grpc, **song, seeds=[8, 9, 10])
    for item, seed in enumerate((8, 9, 10)):
        assert (await sing(stack.triton_grpc, **song, seeds=[seed])).audio().tobytes() == batch.audio(item).tobytes()
