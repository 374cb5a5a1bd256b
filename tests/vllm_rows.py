"""For tests of what runs inside vLLM: engine arguments, an environment that vLLM may write to, specs of rows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GREEDY = {"temperature": 0, "top_k": 0, "top_p": 1, "seed": 0, "purpose": "codes"}


@contextmanager
def vllm_environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
                   "VLLM_LOGGING_LEVEL": "WARNING"}  # fmt: skip
    yield
    os.environ.clear()
    os.environ |= before


def engine_arguments(model_len: int, **changes: Any) -> dict[str, Any]:
    arguments = {
        "dtype": "float32", "enforce_eager": True, "async_scheduling": False, "gpu_memory_utilization": 0.1,
        "max_model_len": model_len, "max_num_batched_tokens": 2 * model_len, "max_num_seqs": 16,
        "scheduler_cls": "lm_guidance.scheduler.PairScheduler",
        "logits_processors": ["lm_guidance.processor:GuidedSampler"],
        "distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",  # as it is served
    }  # fmt: skip
    return arguments | changes


def row_spec(role: str, song: str = "song", pair: str = "pair", **changes: Any) -> dict[str, Any]:
    """A row's `extra_args.acestep`: greedy and free, the halves of a pair with guidance 2.5."""
    spec: dict[str, Any] = {"song": song, "role": role}
    if role in ("cancel", "ask"):
        return spec
    spec |= {"repetition_penalty": 1, "sample": GREEDY, "constraint": None}
    if role != "alone":
        spec |= {"pair": pair, "cfg_scale": 2.5}
    return spec | changes
