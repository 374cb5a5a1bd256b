"""A completion that is being written: what was asked, what it holds so far, what it may hold next."""

from __future__ import annotations

from collections.abc import Sequence

from lm_guidance.constraint import Grammar
from lm_guidance.spec import RowSpec
from lm_guidance.token_set import Allowed


class Row:
    """One guided pair, or one row alone. `tokens`: the completion so far; it is the engine that appends to it."""

    def __init__(self, spec: RowSpec, grammar: Grammar) -> None:
        self.spec = spec
        self.tokens: list[int] = []
        self._state = grammar.start(spec.constraint)

    @property
    def allowed(self) -> Allowed:
        """What the next token may be, at least one; after the end token, that token."""
        return self._state.allow()

    def append(self, token: int) -> None:
        """Takes note of the token that the engine has appended; ValueError if the constraint forbids it."""
        self._state.advance(token)
        self.tokens.append(token)

    def follow(self, completion: Sequence[int]) -> None:
        """Takes note of whatever `completion`, all of it so far, holds beyond `tokens`."""
        for token in completion[len(self.tokens) :]:
            self.append(token)
