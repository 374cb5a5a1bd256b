"""Token sequences that grow together in one KV cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import DynamicCache, Qwen3ForCausalLM


class Rows:
    """The rows of one generation: `prefill` once, then `append` the chosen token to all of them, again and again.

    Prompts of different length are padded on the left, so that the rows' ends line up. A padded place is masked out and
    takes no position: each row's logits are those of the row alone, up to the rounding of a batched product.
    """

    def __init__(self, model: Qwen3ForCausalLM, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._cache = DynamicCache(config=model.config)
        width = max(map(len, prompts))
        self._ids = torch.zeros(len(prompts), width, dtype=torch.long, device=model.device)
        self._mask = torch.zeros_like(self._ids)
        for row, prompt in enumerate(prompts):
            begin = width - len(prompt)
            self._ids[row, begin:] = torch.tensor(prompt, device=model.device)
            self._mask[row, begin:] = 1

    def prefill(self) -> torch.Tensor:
        """Reads the prompts; logits [rows, vocabulary] of the token after them, float32."""
        positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)
        return self._forward(self._ids, positions)

    def append(self, token: int) -> torch.Tensor:
        """Adds one token to every row; logits [rows, vocabulary] of the token after it, float32."""
        positions = self._mask.sum(dim=1, keepdim=True)
        self._mask = torch.cat([self._mask, torch.ones_like(positions)], dim=1)
        return self._forward(torch.full_like(positions, token), positions)

    @torch.inference_mode()
    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        output = self._model(
            input_ids=ids, attention_mask=self._mask, position_ids=positions, past_key_values=self._cache,
            use_cache=True, logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits
