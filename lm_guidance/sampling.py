"""From logits to tokens, many completions at once, each as if it were alone.

Order: repetition penalty on the conditional row, guidance, the constraint's mask, temperature, top-k, top-p, pick. What
the constraint forbids is not computed at all, which is the same: until then tokens do not depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lm_guidance.candidates import Candidates
from lm_guidance.noise import draw_gumbel, purpose_key
from lm_guidance.nucleus import keep_best, keep_nucleus
from lm_guidance.row import Row
from lm_guidance.spec import Sample
from lm_guidance.token_set import Allowed

_NEVER = float("-inf")
# Scores in one table, of 8 bytes each: what a CPU's caches hold; elsewhere what may be taken beside a full KV cache.
_TABLE_ON_CPU, _TABLE = 2**18, 2**20


@dataclass(frozen=True)
class Turn:
    """A token to pick for `row`, by its rows of the logits; `unconditional` is None for a row alone."""

    row: Row
    conditional: int
    unconditional: int | None = None

    @property
    def sample(self) -> Sample:
        sample = self.row.spec.sample
        assert sample is not None, "a request about a song has no row"
        return sample


def choose(logits: torch.Tensor, turns: Sequence[Turn]) -> torch.Tensor:
    """The next token of every turn: ids int64 [len(turns)] on the logits' device.

    `logits` is [rows, at least the vocabulary's size], any float type, and stays as it is. What is picked for a turn
    depends on its own rows, spec and completion alone.
    """
    picked = torch.zeros(len(turns), dtype=torch.int64)
    alike: dict[tuple[object, ...], list[int]] = {}
    for place, turn in enumerate(turns):
        allowed = turn.row.allowed
        if isinstance(allowed, range) and len(allowed) == 1:
            picked[place] = allowed.start
        else:
            alike.setdefault(_kind(turn, allowed), []).append(place)
    picked = picked.to(logits.device)
    for kind in alike.values():
        width = max(len(turns[place].row.allowed) for place in kind)
        rows = max(1, (_TABLE_ON_CPU if logits.device.type == "cpu" else _TABLE) // width)
        for start in range(0, len(kind), rows):
            places = kind[start : start + rows]
            picked[torch.tensor(places, device=logits.device)] = _pick(logits, [turns[place] for place in places])
    return picked


def _kind(turn: Turn, allowed: Allowed) -> tuple[object, ...]:
    """What rows of one table have in common: about the same number of candidates, and the same operations."""
    sample = turn.sample
    table = allowed if isinstance(allowed, range) else len(allowed).bit_length()
    return table, turn.unconditional is None, sample.temperature > 0, sample.top_k > 0, sample.top_p < 1


def _pick(logits: torch.Tensor, turns: Sequence[Turn]) -> torch.Tensor:
    """The tokens of turns of one kind."""
    candidates = Candidates([turn.row.allowed for turn in turns], logits.device)
    scores = _guide(logits, turns, candidates)
    columns = _draw(scores, turns, candidates) if turns[0].sample.temperature > 0 else scores.argmax(1)
    return candidates.ids.gather(1, columns[:, None])[:, 0]


def _guide(logits: torch.Tensor, turns: Sequence[Turn], candidates: Candidates) -> torch.Tensor:
    """Repetition penalty (as in transformers: positive logits divided, negative ones multiplied) and guidance."""
    scores = candidates.take(logits, [turn.conditional for turn in turns])
    for place, turn in enumerate(turns):
        penalty = turn.row.spec.repetition_penalty
        if penalty != 1 and turn.row.tokens:
            columns = candidates.find(place, turn.row.tokens)
            repeated = scores[place, columns]
            scores[place, columns] = torch.where(repeated > 0, repeated / penalty, repeated * penalty)
    unconditional = [turn.unconditional for turn in turns if turn.unconditional is not None]
    if unconditional:
        without = candidates.take(logits, unconditional)
        scales = _column(scores, [turn.row.spec.cfg_scale for turn in turns])
        scores = scores.sub_(without).mul_(scales[:, None]).add_(without)
    # A token that is impossible in either row came out as -inf or, by inf - inf, as NaN.
    scores.nan_to_num_(nan=_NEVER, posinf=torch.finfo(torch.float64).max, neginf=_NEVER)
    return scores if candidates.filled is None else scores.masked_fill_(candidates.filled, _NEVER)


def _draw(scores: torch.Tensor, turns: Sequence[Turn], candidates: Candidates) -> torch.Tensor:
    """The columns picked, with temperature, top-k and top-p; `scores` is used up."""
    samples = [turn.sample for turn in turns]
    top = scores.amax(1, keepdim=True)
    # Where all are impossible the first one is as good as any.
    scores[:, :1] = torch.where(top == _NEVER, 0.0, scores[:, :1])
    scores.sub_(torch.where(top == _NEVER, 0.0, top)).div_(_column(scores, [s.temperature for s in samples])[:, None])
    if samples[0].top_k:
        counts = torch.tensor([sample.top_k for sample in samples], device=scores.device)
        scores.masked_fill_(~keep_best(scores, counts), _NEVER)
    possible = scores > _NEVER
    if samples[0].top_p < 1:
        possible &= keep_nucleus(scores, _column(scores, [sample.top_p for sample in samples]))
    rows, columns = possible.nonzero(as_tuple=True)
    keys = [(s.seed, purpose_key(s.purpose), len(turn.row.tokens)) for s, turn in zip(samples, turns, strict=True)]
    noise = draw_gumbel(
        torch.tensor(keys, dtype=torch.int64, device=scores.device), rows, candidates.ids[rows, columns])
    drawn = scores[rows, columns] + noise
    return _best_of_each(len(turns), rows, columns, drawn)


def _best_of_each(count: int, rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Of each row the column with the highest value, the first one of equal ones; every row has one."""
    best = values.new_full((count,), _NEVER).scatter_reduce_(0, rows, values, "amax")
    hits = values == best[rows]
    last = torch.iinfo(torch.int64).max
    return columns.new_full((count,), last).scatter_reduce_(0, rows[hits], columns[hits], "amin")


def _column(like: torch.Tensor, values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)
