"""Gumbel noise by (seed, purpose, position, token): what a row draws never depends on its neighbours or its device."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

# Philox-4x32-10: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF
# Between 52 bits and a half, which a float64 still holds exactly: u is neither 0 nor 1.
_STEP = 2.0**-52
# Values at once on a CPU: ten rounds over more leave its caches.
_IN_CACHE = 2**14

Words = int | torch.Tensor | npt.NDArray[np.uint64]


def philox(counter: Sequence[Words], key: Sequence[Words]) -> tuple[Any, ...]:
    """Four random words for each counter of four words and key of two, all below 2^32.

    A word is an integer, the same for all, or one for each in int64 tensors or uint64 arrays of one shape. What comes
    of integers alone is computed once.
    """
    c0, c1, c2, c3 = cast(Sequence[Any], counter)
    k0, k1 = cast(Sequence[Any], key)
    for _ in range(_ROUNDS):
        # A product keeps its low 64 bits, whatever its sign. c1 and c3 keep their high words, which the next mask cuts.
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = ((second >> 32) ^ c1 ^ k0) & _WORD, second
        c2, c3 = ((first >> 32) ^ c3 ^ k1) & _WORD, first
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return c0, c1 & _WORD, c2, c3 & _WORD


def purpose_key(purpose: str) -> int:
    """The purpose as a word of 32 bits."""
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=4).digest(), "little")


def draw_gumbel(keys: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise, float64 [n]: -log(-log u), u uniform in (0, 1), for each token of a row.

    `keys`, int64 [rows, 3], are each row's seed, purpose_key(purpose) and position; `rows` and `tokens` are int64 [n].
    Philox's key is (seed, purpose), its counter (token, position). All inputs are below 2^32.
    """
    return _draw_on_cpu(keys, rows, tokens) if tokens.device.type == "cpu" else _draw(keys, rows, tokens)


def _draw(keys: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    seeds, purposes, positions = keys[rows].unbind(1)
    bits = _bits((tokens, positions, 0, 0), (seeds, purposes))
    return -torch.log(-torch.log((bits.double() + 0.5) * _STEP))


def _draw_on_cpu(keys: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The same by numpy, whose unsigned words take half the time of torch's signed ones."""
    table, row_of, words = keys.numpy().astype(np.uint64).T, rows.numpy(), tokens.numpy().astype(np.uint64)
    noise = np.empty(len(words))
    for start in range(0, len(words), _IN_CACHE):
        part = slice(start, start + _IN_CACHE)
        of_part = row_of[part]
        is_one = (of_part == of_part[0]).all()
        seeds, purposes, positions = table[:, of_part[0]].tolist() if is_one else table[:, of_part]
        bits = _bits((words[part], positions, 0, 0), (seeds, purposes))
        noise[part] = -np.log(-np.log((bits.astype(np.float64) + 0.5) * _STEP))
    return torch.from_numpy(noise)


def _bits(counter: Sequence[Words], key: Sequence[Words]) -> Any:
    """52 random bits for each counter."""
    high, low, *_ = philox(counter, key)
    return (high << 20) | (low >> 12)
