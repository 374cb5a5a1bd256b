"""The leading tokens of a distribution, exactly and without sorting all of it.

Tokens are led by the higher score, equal ones by the lower column. Weights are integers, so that sums do not depend on
their order: not on the device, the threads, or the rows that share the call.
"""

from __future__ import annotations

import torch

# Tokens are first put into bins by score; only the bin in which the limit falls is sorted. A weight is 2^44 at the top
# and 0 from 30.5 (44 ln 2) below it on, before the last bin. A row of 2^18 tokens, more than the vocabulary has, adds
# up to less than 2^63.
_BINS_PER_UNIT = 64
_BINS = 2048
_ONE = 2.0**44


def keep_best(scores: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Top-k: which of `scores` are among the row's `counts` best, bool [rows, columns]. Scores as for keep_nucleus."""
    return _keep_leading(scores, torch.ones_like(scores, dtype=torch.int64), counts)


def keep_nucleus(scores: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Top-p: the tokens before which less than the row's share of probability lies, bool [rows, columns].

    `scores` are log probabilities but for a constant, float64 [rows, columns], 0 for each row's best; `shares` float64
    [rows], above 0 and below 1.
    """
    weights = torch.exp(scores).mul_(_ONE).long()
    limits = (weights.sum(1).double() * shares).ceil_().long()
    return _keep_leading(scores, weights, limits)


def _keep_leading(scores: torch.Tensor, weights: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """The tokens before which less than the row's limit of weight lies; limits are at least 1."""
    bins = (scores * -_BINS_PER_UNIT).clamp_(max=_BINS - 1).long()
    sums = torch.zeros(len(scores), _BINS, dtype=torch.int64, device=scores.device).scatter_add_(1, bins, weights)
    before_bin = sums.cumsum(1) - sums
    last = (before_bin < limits[:, None]).sum(1, keepdim=True) - 1
    kept = bins < last
    rows, columns = (bins == last).nonzero(as_tuple=True)
    # By row, in it by score, in that by column: nonzero's order is by row and column, and stable sorts keep it.
    order = torch.sort(scores[rows, columns], descending=True, stable=True).indices
    order = order[torch.sort(rows[order], stable=True).indices]
    rows, columns = rows[order], columns[order]
    sizes = torch.bincount(rows, minlength=len(scores))
    row_starts = sizes.cumsum(0) - sizes
    # The sum runs on from row to row. Should it pass 2^63 the difference is right nonetheless.
    running = weights[rows, columns].cumsum(0)
    before = running - weights[rows, columns]
    before = before - before[row_starts[rows]] + before_bin[rows, last[rows, 0]]
    kept[rows, columns] = before < limits[rows]
    return kept
