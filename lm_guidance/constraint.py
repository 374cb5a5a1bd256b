"""What a completion may hold next, given what it holds already. There is always something that it may.

A block is `<think>` with a newline, a line `name: value` for each field and `</think>`; then the end, or an empty line
and free text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lm_guidance import fields
from lm_guidance.automaton import BACKTICK, BLANK, DEAD, INK, LESS, NEWLINE, OPENER, SPACE, TAB, Automaton, Rules
from lm_guidance.spec import Block, Codes
from lm_guidance.token_set import Allowed, gather
from lm_guidance.vocabulary import Vocabulary

_WORDS = {INK: "words", OPENER: "words", SPACE: "words", BLANK: "words"}
# The value of a line in the LM's own words: a space, something to see, more of it; then the line ends. The next line
# goes on with it if it begins with two spaces (as PyYAML wraps long text), else it is the next field's.
LINE: Rules = {
    "colon": {SPACE: "space"},
    "space": {INK: "words", OPENER: "words"},
    "words": _WORDS | {NEWLINE: "ended"},
    "ended": {},
    "new line": {SPACE: "indent"},
    "indent": {SPACE: "space"},
}
# Any text that does not spell a control token.
_TEXT = {INK: "text", SPACE: "text", NEWLINE: "text", TAB: "text", BACKTICK: "text", BLANK: "text", LESS: "less"}
TEXT: Rules = {"text": _TEXT | {OPENER: "text"}, "less": _TEXT}


class State(Protocol):
    """Where one completion stands in its constraint."""

    def allow(self) -> Allowed:
        """What the next token may be, at least one."""

    def advance(self, token: int) -> None:
        """The completion has got `token`; ValueError if that was not allowed."""


class Anything:
    """No constraint: any token of the vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._allowed = range(vocabulary.size)

    def allow(self) -> Allowed:
        return self._allowed

    def advance(self, token: int) -> None:
        if token not in self._allowed:
            raise _not_allowed(token)


class Counting:
    """As many audio codes as asked for, then the end."""

    def __init__(self, vocabulary: Vocabulary, count: int) -> None:
        self._codes, self._end, self._left = vocabulary.codes, range(vocabulary.eos, vocabulary.eos + 1), count

    def allow(self) -> range:
        return self._codes if self._left else self._end

    def advance(self, token: int) -> None:
        if token not in self.allow():
            raise _not_allowed(token)
        self._left -= self._left > 0


class Trie:
    """Sequences of tokens, none of which begins with another."""

    def __init__(self, sequences: Iterable[tuple[int, ...]]) -> None:
        by_first: dict[int, list[tuple[int, ...]]] = {}
        for first, *rest in filter(None, sequences):
            by_first.setdefault(first, []).append(tuple(rest))
        self.children = {first: Trie(rests) for first, rests in sorted(by_first.items())}
        self.firsts = tuple(self.children)
        self.allowed = gather(self.firsts)


@dataclass(frozen=True)
class Free:
    """Words of the LM's own, at most `limit` tokens; the first token of what follows them ends them."""

    automaton: Automaton
    limit: int


class Writing:
    """A block: its first words, and the parts that follow, each of free words and of what comes after them."""

    def __init__(self, opening: Trie, parts: Sequence[tuple[Free | None, Trie]]) -> None:
        self._node: Trie = opening
        self._parts = list(reversed(parts))
        self._free: Free | None = None
        self._state = self._left = 0

    def allow(self) -> Allowed:
        if self._free is None:
            return self._node.allowed
        ends = self._node.firsts if self._state in self._free.automaton.goals else ()
        return self._free.automaton.allow(self._state, self._left, ends)

    def advance(self, token: int) -> None:
        if self._free is None or (self._state in self._free.automaton.goals and token in self._node.children):
            self._descend(token)
            return
        self._state, self._left = self._free.automaton.step(self._state, token), self._left - 1
        if self._state == DEAD or self._left < 0:
            raise _not_allowed(token)

    def _descend(self, token: int) -> None:
        if token not in self._node.children:
            raise _not_allowed(token)
        self._free = None
        child = self._node.children[token]
        if child.children:
            self._node = child
        elif self._parts:
            self._free, self._node = self._parts.pop()
            if self._free is not None:
                self._state, self._left = self._free.automaton.start, self._free.limit
        # Else this was the end, which remains the only token allowed.


class Grammar:
    """The constraints compiled for one vocabulary; made once in a process, shared by all its rows.

    ValueError if the vocabulary cannot write one of the values with ordinary tokens.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._line = Automaton(vocabulary, LINE, "colon", ("new line",), {"ended": "new line"})
        self._text = Automaton(vocabulary, TEXT, "text", ("text", "less"), {})
        self._opening = Trie([(vocabulary.think, *vocabulary.encode("\n"))])
        self._close = Trie([(vocabulary.think_end,)])
        self._close_before_text = Trie([(vocabulary.think_end, *vocabulary.encode("\n\n"))])
        self._end = Trie([(vocabulary.eos,)])
        self._names = {name: Trie([vocabulary.encode(f"{name}:")]) for name in fields.FREE}
        self._values: dict[tuple[str, int], Trie] = {}
        for name in fields.NAMES:
            if name not in fields.FREE:
                self._compile_values(name, fields.DURATION_MAX)

    def start(self, constraint: Codes | Block | None) -> State:
        """The state of a completion that holds nothing yet; ValueError if a forced value cannot be written."""
        if constraint is None:
            return Anything(self.vocabulary)
        if isinstance(constraint, Codes):
            return Counting(self.vocabulary, constraint.count)
        parts: list[tuple[Free | None, Trie]] = []
        free: Free | None = None
        for name, forced in constraint.fields:
            if name in fields.FREE:
                parts.append((free, self._names[name]))
                free = Free(self._line, constraint.caption_max + 1)  # and one for the line's end
                continue
            if forced is None:
                parts.append((free, self._compile_values(name, constraint.duration_max)))
            else:
                parts.append((free, Trie([self.vocabulary.encode(f"{name}: {forced}\n")])))
            free = None
        parts.append((free, self._close_before_text if constraint.text else self._close))
        parts.append((Free(self._text, constraint.text_max) if constraint.text else None, self._end))
        return Writing(self._opening, parts)

    def _compile_values(self, name: str, duration_max: int) -> Trie:
        key = (name, duration_max if name == "duration" else 0)
        if key not in self._values:
            values = fields.list_values(name, duration_max)
            self._values[key] = Trie(self.vocabulary.encode(f"{name}: {value}\n") for value in values)
        return self._values[key]


def _not_allowed(token: int) -> ValueError:
    return ValueError(f"token {token} is not allowed here")
