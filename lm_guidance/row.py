"""A completion that is being written: what was asked, what it holds so far, what it may hold next."""

from __future__ import annotations

from collections.abc import Sequence

from lm_guidance.constraint import Grammar
from lm_guidance.spec import RowSpec


class Row:
    """One guided pair, or one row alone. `tokens`: the completion so far; it is the engine that appends to it."""

    def __init__(self, spec: RowSpec, grammar: Grammar) -> None:
        self.spec = spec
        self.tokens: list[int] = []

    def append(self, token: int) -> None:
        """Takes note of the token that the engine has appended; ValueError if the constraint forbids it."""
        raise NotImplementedError

    def follow(self, completion: Sequence[int]) -> None:
        """Takes note of whatever `completion`, all of it so far, holds beyond `tokens`."""
        for token in completion[len(self.tokens) :]:
            self.append(token)
