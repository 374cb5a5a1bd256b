"""A caller who leaves takes its rows from the LM's engine within a second, whatever they are doing."""

import asyncio
import time

import pytest
from tritonclient.grpc.aio import InferenceServerClient

from tests.lm_client import Ask, send, tell, write
from tests.lm_metrics import lm_metric
from tests.pipeline_client import sing, stream

LONG = {"caption": "leaves", "duration": 600, "bpm": 90, "key_scale": "C major", "time_signature": "4"}


async def busy(stack) -> float:
    return await lm_metric(stack, "vllm:num_requests_running") + await lm_metric(stack, "vllm:num_requests_waiting")


async def idle_within(stack, seconds: float) -> float:
    """Seconds until the engine had nothing to do."""
    begin = time.monotonic()
    while await busy(stack):
        assert time.monotonic() - begin < seconds, "the engine still has rows"
        await asyncio.sleep(0.05)
    return time.monotonic() - begin


async def until_known(stack, model: str, song: str) -> None:
    """Until the engine has heard of the song."""
    for _ in range(100):
        if (await tell(stack.triton_grpc, model, "ask", song)).finish == "stop":
            return
        await asyncio.sleep(0.05)
    pytest.fail("the engine does not know the song")


async def leave_at(stack, request: dict, when) -> None:
    """Asks for a song and leaves at the first event that `when` accepts."""
    async with InferenceServerClient(stack.triton_grpc) as client:
        events = stream(client, request)
        async for event, _ in events:
            if when(event):
                break
        await events.aclose()


@pytest.mark.parametrize(("request_", "when"), [
    (LONG | {"thinking": True, "seeds": [1, 2, 3, 4]}, lambda e: e.get("phase") == "codes" and e["done"] > 40),
    (LONG | {"thinking": True}, lambda e: e.get("phase") == "codes"),
    ({"sample_mode": True, "constrained_decoding": False}, lambda e: e["type"] == "planning"),
    ({"sample_mode": True}, lambda e: e.get("phase") == "plan"),
], ids=["mid codes of four items", "first codes", "mid text", "before the first word"])
async def test_a_song_that_is_left_frees_its_rows(stack, request_, when):
    neighbour = asyncio.create_task(sing(stack.triton_grpc, thinking=True, seeds=[5], **LONG | {"duration": 10}))
    await leave_at(stack, request_, when)
    assert (await neighbour).audio().shape == (2, 480_000)
    await idle_within(stack, 5)


@pytest.mark.parametrize("model", ["lm", "lm_pt"])
async def test_a_parked_half_is_freed_by_its_song_s_cancel(stack, model):
    ask = Ask(prompt="<|im_start|>user\nx<|im_end|>\n", negative="y", constraint={"codes": 50}, max_tokens=51)
    (prompt, spec), _ = ask.rows("a parked song")
    async with InferenceServerClient(stack.triton_grpc) as client:
        parked = asyncio.create_task(send(client, model, prompt, spec, 51))
        await until_known(stack, model, "a parked song")
        begin = time.monotonic()
        await tell(stack.triton_grpc, model, "cancel", "a parked song")
        assert (await parked).finish == "abort"
        assert time.monotonic() - begin < 5
    assert (await tell(stack.triton_grpc, model, "ask", "a parked song")).finish == "abort"


@pytest.mark.parametrize("model", ["lm", "lm_pt"])
async def test_cancel_in_mid_codes_ends_both_halves(stack, model):
    ask = Ask(prompt="x", negative="y", constraint={"codes": 3000}, max_tokens=3001)
    row = asyncio.create_task(write(stack.triton_grpc, model, ask, song="mid"))
    await until_known(stack, model, "mid")
    await asyncio.sleep(0.5)
    begin = time.monotonic()
    assert (await tell(stack.triton_grpc, model, "cancel", "mid")).finish == "stop"
    assert (await row).finish == "abort"
    assert time.monotonic() - begin < 10


async def test_cancelling_nothing_is_no_error(stack):
    assert (await tell(stack.triton_grpc, "lm", "cancel", "nobody")).finish == "stop"
    assert (await tell(stack.triton_grpc, "lm", "ask", "nobody")).finish == "abort"
