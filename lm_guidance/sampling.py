"""From logits to tokens, many completions at once, each as if it were alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lm_guidance.row import Row


@dataclass(frozen=True)
class Turn:
    """A token to pick for `row`, by its rows of the logits; `unconditional` is None for a row alone."""

    row: Row
    conditional: int
    unconditional: int | None = None


def choose(logits: torch.Tensor, turns: Sequence[Turn]) -> torch.Tensor:
    """The next token of every turn: ids int64 [len(turns)] on the logits' device.

    `logits` is [rows, at least the vocabulary's size], any float type, and stays as it is. What is picked for a turn
    depends on its own rows, spec and completion alone.
    """
    raise NotImplementedError
