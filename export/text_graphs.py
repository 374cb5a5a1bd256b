"""The text encoder for export: contextual states of the prompt, and the bare embedding of the lyrics."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from .graph import BATCH, Case, Graph

TOKENS = torch.export.Dim("tokens", min=1, max=8192)


class TextEncoder(nn.Module):
    """Qwen3's last hidden state, after the final norm."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.source = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        output = self.source(input_ids=input_ids, attention_mask=attention_mask.to(torch.int64), use_cache=False)
        return torch.as_tensor(output.last_hidden_state)


class LyricEmbedding(nn.Module):
    """The text encoder's embedding table alone: lyrics get their context in the condition encoder."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.table = encoder.get_input_embeddings()

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.table(input_ids))


def text_encoder(encoder: Any) -> Graph:
    """input_ids and attention_mask [B, Lt] -> text_hidden_states [B, Lt, D]."""
    axes = {0: BATCH, 1: TOKENS}
    return Graph(
        module=TextEncoder(encoder).eval(),
        example=_tokens(encoder, [9, 6], pad=2),
        outputs=("text_hidden_states",),
        axes={"input_ids": axes, "attention_mask": axes},
        oracle=encoder,
        cases=lambda dtype: _encoder_cases(encoder),
    )


def lyric_embedding(encoder: Any) -> Graph:
    """input_ids [B, Ll] -> lyric_hidden_states [B, Ll, D]."""
    return Graph(
        module=LyricEmbedding(encoder).eval(),
        example={"input_ids": _tokens(encoder, [9, 6], pad=2)["input_ids"]},
        outputs=("lyric_hidden_states",),
        axes={"input_ids": {0: BATCH, 1: TOKENS}},
        oracle=encoder,
        cases=lambda dtype: _embedding_cases(encoder),
    )


def _tokens(encoder: Any, lengths: list[int], pad: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(sum(lengths))
    longest = max(lengths) + pad
    ids = torch.randint(0, encoder.config.vocab_size, (len(lengths), longest), generator=random)
    return {"input_ids": ids, "attention_mask": torch.arange(longest)[None] < torch.tensor(lengths)[:, None]}


def _encoder_cases(encoder: Any) -> Iterator[Case]:
    batches: dict[str, tuple[list[int], int]] = {
        "1 token": ([1], 0),
        "57 tokens": ([57], 0),
        "256 tokens": ([256], 0),
        "31, 200 and 8 tokens in one call, padded": ([31, 200, 8], 5),
    }
    for label, (lengths, pad) in batches.items():
        inputs = _tokens(encoder, lengths, pad)
        # As the reference calls it: without a mask. The model is causal, so padding on the right changes nothing.
        expected = encoder(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
        valid = {"text_hidden_states": inputs["attention_mask"][:, :, None]}
        yield Case(label, inputs, {"text_hidden_states": expected}, valid)


def _embedding_cases(encoder: Any) -> Iterator[Case]:
    for rows, length in ((1, 1), (1, 2048), (3, 200)):
        ids = _tokens(encoder, [length] * rows, pad=0)["input_ids"]
        yield Case(f"{rows} × {length} tokens", {"input_ids": ids}, {"lyric_hidden_states": encoder.embed_tokens(ids)})
