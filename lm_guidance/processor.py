"""The sampler of guided rows as a logits processor of vLLM: it picks the token and leaves vLLM no other to take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.v1.sample.logits_processor import BatchUpdate
from vllm.v1.sample.logits_processor import LogitsProcessor as RunnerV1Processor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates
from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as RunnerV2Processor

from lm_guidance.constraint import Grammar
from lm_guidance.row import Row
from lm_guidance.sampling import Turn, choose
from lm_guidance.scheduler import PairScheduler
from lm_guidance.spec import RowSpec
from lm_guidance.unit import spec_of
from lm_guidance.vocabulary import Vocabulary

# Fields of SamplingParams that could end a row apart from its partner, or forbid the token that was picked.
FOREIGN = (
    "stop", "stop_token_ids", "ignore_eos", "min_tokens", "structured_outputs", "logit_bias", "allowed_token_ids",
    "bad_words", "thinking_token_budget", "repetition_detection",
)  # fmt: skip


@dataclass
class Seat:
    """A guided request in vLLM's batch; `completion` grows with it. `row` is None for an unconditional half."""

    spec: RowSpec
    row: Row | None
    completion: list[int]


@cache
def compile_grammar(checkpoint: str) -> Grammar:
    """The constraints for a checkpoint folder's tokenizer; a few seconds for a real one."""
    return Grammar(Vocabulary.load(Path(checkpoint) / "tokenizer.json"))


class GuidedSampler(RunnerV1Processor, RunnerV2Processor):  # type: ignore[misc]  # mypy does not follow vLLM
    """One class for both of vLLM's model runners. Requests that are none of ours pass as they are.

    Runner V1 tells of the batch's changes by update_state() and calls apply(logits); runner V2 tells of new requests by
    add_request() and calls apply(logits, context). It has not been seen with runner V2.
    """

    @classmethod
    def validate_params(cls, params: SamplingParams) -> None:
        """ValueError of one line, which reaches the client, where a request's parameters are wrong."""
        spec = spec_of(params)
        if spec is None or spec.role in ("cancel", "ask"):
            return
        if params.temperature != 0:
            raise ValueError("temperature: must be 0, acestep.sample has its own")
        default = SamplingParams()
        for name in FOREIGN:
            if getattr(params, name) not in (None, getattr(default, name)):
                raise ValueError(f"{name}: not together with acestep")

    def __init__(self, vllm_config: VllmConfig, *runner: Any) -> None:
        """`runner`: what else the runner passes, (device, is_pin_memory) or (request states,)."""
        if not issubclass(vllm_config.scheduler_config.get_scheduler_cls(), PairScheduler):
            raise ValueError("scheduler_cls: must be lm_guidance.scheduler.PairScheduler")
        self.grammar = compile_grammar(vllm_config.model_config.tokenizer)
        self.seats: dict[int, Seat] = {}  # by the row in the batch (V1) or the slot of the request (V2)

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        process_dict_updates(self.seats, batch_update, lambda params, _, completion: self._seat(params, completion))

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        self.seats.pop(req_idx, None)
        seat = self._seat(sampling_params, [])
        if seat is not None:
            self.seats[req_idx] = seat
        return seat is not None

    def apply(self, logits: torch.Tensor, ctx: LogitsContext | None = None) -> torch.Tensor:
        if ctx is None:
            self._pick(logits, self.seats)
            return logits
        slots = enumerate(ctx.idx_mapping_np.tolist())
        present = {row: self.seats[slot] for row, slot in slots if slot in self.seats}
        for row, token in self._pick(logits, present).items():
            present[row].completion.append(token)
        return logits

    def _seat(self, params: SamplingParams, completion: list[int]) -> Seat | None:
        spec = spec_of(params)
        if spec is None:
            return None
        return Seat(spec, None if spec.role == "unconditional" else Row(spec, self.grammar), completion)

    def _pick(self, logits: torch.Tensor, present: dict[int, Seat]) -> dict[int, int]:
        """Picks a token for every row alone and every pair, and makes it the only one in each of their rows.

        A half without its partner ends: the scheduler keeps the two together, so its partner has ended.
        """
        partners = {seat.spec.pair: index for index, seat in present.items() if seat.row is None}
        turns: list[Turn] = []
        tokens: dict[int, int] = {}
        for index, seat in present.items():
            if seat.row is None:
                continue
            partner = partners.pop(seat.spec.pair, None)
            if seat.spec.pair is not None and partner is None:
                tokens[index] = self.grammar.vocabulary.eos
            else:
                seat.row.follow(seat.completion)
                turns.append(Turn(seat.row, index, partner))
        tokens.update(dict.fromkeys(partners.values(), self.grammar.vocabulary.eos))
        if turns:
            for turn, token in zip(turns, choose(logits, turns).tolist(), strict=True):
                tokens[turn.conditional] = token
                if turn.unconditional is not None:
                    tokens[turn.unconditional] = token
        if tokens:
            rows = torch.tensor(list(tokens), device=logits.device)
            logits.index_fill_(0, rows, float("-inf"))
            logits[rows, torch.tensor(list(tokens.values()), device=logits.device)] = 0.0
        return tokens
