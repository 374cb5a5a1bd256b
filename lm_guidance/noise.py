"""Gumbel noise by (seed, purpose, position, token): what a row draws never depends on its neighbours or its device."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

# Philox-4x32-10: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF
# Values at once on a CPU: ten rounds over more leave its caches, which takes three times as long.
_IN_CACHE = 2**15


def philox(counter: Sequence[torch.Tensor], key: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Four random words for each counter of four words and key of two; int64 tensors of one shape, below 2^32."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for turn in range(_ROUNDS):
        # An int64 product keeps the low 64 bits, whatever its sign: shifted and masked they are the two words.
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        r0 = (k0 + turn * _KEY_STEPS[0]) & _WORD
        r1 = (k1 + turn * _KEY_STEPS[1]) & _WORD
        c0, c1 = ((second >> 32) & _WORD) ^ c1 ^ r0, second & _WORD
        c2, c3 = ((first >> 32) & _WORD) ^ c3 ^ r1, first & _WORD
    return c0, c1, c2, c3


def purpose_key(purpose: str) -> int:
    """The purpose as a word of 32 bits."""
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=4).digest(), "little")


def draw_gumbel(
    seeds: torch.Tensor, purposes: torch.Tensor, positions: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """Standard Gumbel noise, float64 [n]: -log(-log u), u uniform in (0, 1).

    All inputs int64 [n], below 2^32. The key is (seed, purpose_key(purpose)), the counter (token, position).
    """
    inputs = (seeds, purposes, positions, tokens)
    if tokens.device.type != "cpu":
        return _draw(*inputs)
    parts = zip(*(torch.split(values, _IN_CACHE) for values in inputs), strict=True)
    return torch.cat([_draw(*part) for part in parts])


def _draw(seeds: torch.Tensor, purposes: torch.Tensor, positions: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    rest = torch.zeros_like(tokens)
    high, low, *_ = philox((tokens, positions, rest, rest), (seeds, purposes))
    # 52 bits and a half: the half is still exact in a float64, so u is neither 0 nor 1.
    uniform = (((high << 20) | (low >> 12)).double() + 0.5) * 2.0**-52
    return -torch.log(-torch.log(uniform))
