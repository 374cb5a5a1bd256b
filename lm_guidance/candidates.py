"""The tokens among which each row of a batch picks, as columns of a table."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lm_guidance.token_set import Allowed, TokenSet


class Candidates:
    """`ids` int64 [rows, columns], ascending in each row; shorter rows are filled up, `filled` says where (or None)."""

    def __init__(self, allowed: Sequence[Allowed], device: torch.device) -> None:
        first = allowed[0]
        self._run = first if isinstance(first, range) and all(each == first for each in allowed) else None
        self.filled: torch.Tensor | None = None
        if self._run is not None:
            self.ids = torch.arange(self._run.start, self._run.stop, device=device).expand(len(allowed), -1)
            return
        rows = [_ids(each, device) for each in allowed]
        self.ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        if any(row.numel() != self.ids.shape[1] for row in rows):
            sizes = torch.tensor([row.numel() for row in rows], device=device)
            self.filled = torch.arange(self.ids.shape[1], device=device) >= sizes[:, None]

    def take(self, logits: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """The candidates' logits in these rows, a copy in float64 [rows, columns]."""
        index = torch.tensor(rows, device=logits.device)
        if self._run is not None:
            return logits[:, self._run.start : self._run.stop].index_select(0, index).double()
        return logits.index_select(0, index).gather(1, self.ids).double()

    def find(self, row: int, tokens: Sequence[int]) -> torch.Tensor:
        """The row's columns that hold one of `tokens`."""
        wanted = torch.tensor(tokens, dtype=torch.int64, device=self.ids.device)
        return torch.isin(self.ids[row], wanted).nonzero()[:, 0]


def _ids(allowed: Allowed, device: torch.device) -> torch.Tensor:
    if isinstance(allowed, TokenSet):
        return allowed.on(device)
    return torch.arange(allowed.start, allowed.stop, device=device)
