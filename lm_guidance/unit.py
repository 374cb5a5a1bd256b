"""What vLLM's scheduler admits at once: a pair of guided rows, or one row alone."""

from __future__ import annotations

from dataclasses import dataclass

from vllm import SamplingParams
from vllm.v1.request import Request

from lm_guidance.spec import RowSpec, parse


@dataclass
class Unit:
    """Requests that are scheduled together or not at all.

    `requests` holds one request, both halves of a pair, or the half of a pair whose other half has not come yet.
    `spec` is the first one's, None for a request that is none of ours; `since` is its arrival, time.monotonic().
    """

    requests: list[Request]
    spec: RowSpec | None
    since: float

    def belongs_to(self, song: str) -> bool:
        return self.spec is not None and self.spec.song == song and not self.over

    def matches(self, half: Unit) -> bool:
        """The two are the halves of one pair: they end at the same token and ask for the same one at every step."""
        if self.spec is None or half.spec is None:
            return False
        mine, its = self.requests[0], half.requests[0]
        alike = mine.max_tokens == its.max_tokens and mine.lora_request == its.lora_request
        return alike and self.spec.matches(half.spec)

    @property
    def uncomputed_tokens(self) -> int:
        """Tokens that its next step computes: whole prompts, then one of each row."""
        return sum(request.num_tokens - request.num_computed_tokens for request in self.requests)

    def reserved_blocks(self, block_size: int, max_model_len: int) -> int:
        """KV blocks that its rows fill at most: those of each one's prompt and max_tokens."""
        lengths = (min(request.num_prompt_tokens + request.max_tokens, max_model_len) for request in self.requests)
        return sum(-(-length // block_size) for length in lengths)

    @property
    def broken(self) -> bool:
        """One of its rows has ended, so none can go on."""
        return any(request.is_finished() for request in self.requests)

    @property
    def over(self) -> bool:
        return all(request.is_finished() for request in self.requests)


def spec_of(params: SamplingParams | None) -> RowSpec | None:
    """What a request asks of us, None if nothing; ValueError of one line if it is wrong."""
    mapping = (params.extra_args or {}).get("acestep") if params is not None else None
    return None if mapping is None else parse(mapping)
