"""The seeds of a song's items."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

from frontend.fields import Fields

Draw = Callable[[], int]
_COUNT = 2**32  # of all seeds there are


def draw_seed() -> int:
    """A random seed, 0 to 2^32-1."""
    return secrets.randbits(32)


def resolve_seeds(fields: Fields, draw: Draw) -> list[int]:
    """One seed per item: seed + i for a single one, the listed ones for a list; -1 and missing ones are drawn.

    All are taken modulo 2^32.
    """
    given, count = _given(fields), fields["batch_size"]
    if len(given) == 1 and given[0] >= 0:
        return [(given[0] + i) % _COUNT for i in range(count)]
    padded = (*given, *(-1 for _ in range(count)))[:count]
    return [draw() if seed < 0 else seed % _COUNT for seed in padded]


def folded(fields: Fields) -> Iterator[str]:
    """A line about those that were sent and are larger than any seed."""
    used = _given(fields)[: fields["batch_size"]]
    if became := ", ".join(f"{seed} became {seed % _COUNT}" for seed in used if seed >= _COUNT):
        yield f"{fields.called('seed')} was taken modulo {_COUNT}: {became}"


def _given(fields: Fields) -> tuple[int, ...]:
    """The seeds that count; -1 is to be drawn."""
    return (-1,) if fields["use_random_seed"] else fields["seed"]
