"""The LM engine's own counters, from Triton's metrics port."""

import re

import httpx


async def lm_metric(stack, name: str) -> float:
    """The sum of a vLLM metric's series, such as `vllm:num_requests_running`."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{stack.triton_metrics}/metrics")).text
    values = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    assert values, f"{name} is not among the metrics"
    return sum(map(float, values))
