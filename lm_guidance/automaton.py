"""A byte automaton run over whole tokens: which tokens keep free text well formed, and where each one leads.

Free text is described by character: a state, and per kind of character the state it leads to. The automaton spells that
out in UTF-8, so a token may end in the middle of a character and the next one has to complete it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lm_guidance.token_set import Allowed, gather
from lm_guidance.vocabulary import Vocabulary

# Kinds of characters; a kind that a state does not name is forbidden in it.
INK = "ink"  # shows something
SPACE, NEWLINE, TAB, BACKTICK, LESS = " ", "\n", "\t", "`", "<"
BLANK = "blank"  # other spaces and characters without a shape
OPENER = "opener"  # ink that may follow `<` in a control token
KINDS = (INK, SPACE, NEWLINE, TAB, BACKTICK, LESS, BLANK, OPENER)

Rules = Mapping[str, Mapping[str, str]]

DEAD = 0
# Outside ASCII. What is in no list is ink. Forbidden: C1 controls, line separators, surrogates, the byte order mark,
# non-characters and the replacement character, which stands for broken UTF-8 everywhere.
_FORBIDDEN = (
    (0x80, 0x9F), (0x2028, 0x2029), (0xD800, 0xDFFF), (0xFDD0, 0xFDEF), (0xFEFF, 0xFEFF), (0xFFFD, 0xFFFF),
)  # fmt: skip
_BLANKS = (
    (0xA0, 0xA0), (0xAD, 0xAD), (0x115F, 0x1160), (0x1680, 0x1680), (0x180E, 0x180E), (0x2000, 0x200F),
    (0x202A, 0x202F), (0x205F, 0x206F), (0x2800, 0x2800), (0x3000, 0x3000), (0x3164, 0x3164), (0xFFA0, 0xFFA0),
    (0xE0000, 0xE0FFF),
)  # fmt: skip
_LAST = 0x10FFFF


class Automaton:
    """Free text of one form for one vocabulary.

    `rules` holds the states with `start` among them. Text may end in the states of `goals`. A token that leads into a
    state of `resumed` must end there; the next one starts from the state it is mapped to.
    """

    def __init__(
        self, vocabulary: Vocabulary, rules: Rules, start: str, goals: Sequence[str], resumed: Mapping[str, str]
    ) -> None:
        openers = {text[1] for text in vocabulary.added if len(text) > 1 and text[0] == LESS}
        spelled = _Spelling(rules, openers)
        self.start = spelled.states[start]
        self.goals = frozenset(spelled.states[state] for state in goals)
        self._table = np.array(spelled.table, np.uint8)
        self._resumed = np.arange(len(self._table), dtype=np.uint8)
        for state, next_state in resumed.items():
            self._resumed[spelled.states[state]] = spelled.states[next_state]
        self._distance = _count_bytes_to(self.goals, self._table, self._resumed)
        self._farthest = int(self._distance[self._distance < len(self._table)].max())
        self._ids = vocabulary.ordinary
        self._order, self._columns = _by_position(*vocabulary.spelling)
        self._successors: dict[int, npt.NDArray[np.uint8]] = {}
        self._allowed: dict[tuple[int, int, tuple[int, ...]], Allowed] = {}

    def step(self, state: int, token: int) -> int:
        """Where `token` leads; DEAD if it is not allowed."""
        place = int(np.searchsorted(self._ids, token))
        if place == self._ids.size or self._ids[place] != token:
            return DEAD
        return int(self._follow(state)[place])

    def allow(self, state: int, left: int, others: tuple[int, ...] = ()) -> Allowed:
        """The tokens after which a goal can still be reached, with `left` tokens in all, and the tokens `others`."""
        left = min(left, self._farthest + 1)  # more makes no difference
        key = (state, left, others)
        if key not in self._allowed:
            followers = self._follow(state)
            tokens = self._ids[self._distance[followers] < left]
            self._allowed[key] = gather(np.concatenate([tokens, np.array(others, np.int64)]))
        return self._allowed[key]

    def _follow(self, state: int) -> npt.NDArray[np.uint8]:
        """Where each ordinary token leads from `state`."""
        if state not in self._successors:
            states = np.full(self._ids.size, state, np.uint8)
            for column in self._columns:  # longest tokens first, so each column is about the first ones
                states[: column.size] = self._table[states[: column.size], column]
            followers = np.empty_like(states)
            followers[self._order] = self._resumed[states]
            self._successors[state] = followers
        return self._successors[state]


class _Spelling:
    """The rules by byte: `states` gives each named state's number, `table` where every byte leads from every state."""

    def __init__(self, rules: Rules, openers: set[str]) -> None:
        self.states = {name: number for number, name in enumerate(rules, start=1)}
        self.table = [[DEAD] * 256 for _ in range(len(rules) + 1)]
        self._nodes: dict[tuple[int, ...], int] = {}
        for name, targets in rules.items():
            row = self.table[self.states[name]]
            by_kind = {kind: self.states[targets[kind]] if kind in targets else DEAD for kind in KINDS}
            for byte in range(0x20, 0x7F):
                row[byte] = by_kind[_ascii_kind(chr(byte), openers)]
            row[ord(NEWLINE)], row[ord(TAB)] = by_kind[NEWLINE], by_kind[TAB]
            # UTF-8 by lead byte; lead bytes that stand for ASCII (C0, C1) or nothing (F5 and up) stay dead.
            for byte in range(0xC2, 0xE0):
                row[byte] = self._node((byte & 0x1F) << 6, 1, 0x80, by_kind)
            for byte in range(0xE0, 0xF0):
                row[byte] = self._node((byte & 0x0F) << 12, 2, 0x800, by_kind)
            for byte in range(0xF0, 0xF5):
                row[byte] = self._node((byte & 0x07) << 18, 3, 0x10000, by_kind)

    def _node(self, first: int, missing: int, shortest: int, by_kind: Mapping[str, int]) -> int:
        """The state in which `missing` bytes are to come of a character between `first` and first + 64^missing - 1.

        Characters below `shortest` have a shorter spelling, which is the only one allowed.
        """
        last = first + 64**missing - 1
        if last < shortest or first > _LAST or any(low <= first and last <= high for low, high in _FORBIDDEN):
            return DEAD
        if missing == 0:
            return by_kind[BLANK if any(low <= first <= high for low, high in _BLANKS) else INK]
        plain = (
            first >= shortest
            and last <= _LAST
            and not any(low <= last and first <= high for low, high in _FORBIDDEN + _BLANKS)
        )
        step = 64 ** (missing - 1)
        if plain:
            children = [self._node_of_ink(missing - 1, by_kind)] * 64
        else:
            children = [self._node(first + n * step, missing - 1, shortest, by_kind) for n in range(64)]
        return self._number(children)

    def _node_of_ink(self, missing: int, by_kind: Mapping[str, int]) -> int:
        return by_kind[INK] if missing == 0 else self._number([self._node_of_ink(missing - 1, by_kind)] * 64)

    def _number(self, children: list[int]) -> int:
        """The state with these followers of the bytes 80 to BF; equal ones are one state."""
        key = tuple(children)
        if not any(key):
            return DEAD
        if key not in self._nodes:
            self._nodes[key] = len(self.table)
            self.table.append([DEAD] * 0x80 + children + [DEAD] * 0x40)
        return self._nodes[key]


def _ascii_kind(character: str, openers: set[str]) -> str:
    if character in (SPACE, BACKTICK, LESS):
        return character
    return OPENER if character in openers else INK


def _count_bytes_to(
    goals: frozenset[int], table: npt.NDArray[np.uint8], resumed: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int64]:
    """How many bytes each state needs to reach a goal; as many tokens do, because every byte is one.

    A state that reaches none, as the dead one, has a number that no way through the automaton can have.
    """
    distance = np.full(len(table), len(table), np.int64)
    distance[list(goals)] = 0
    for _ in range(len(table)):
        distance = np.minimum(distance, distance[resumed[table]].min(axis=1) + 1)
    return distance


def _by_position(
    spelled: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], list[npt.NDArray[np.uint8]]]:
    """Tokens in order of length, longest first, and the n-th bytes of those that have one, for each n."""
    lengths = offsets[1:] - offsets[:-1]
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = offsets[:-1][order], lengths[order]
    counts = [int(np.searchsorted(-lengths, -position)) for position in range(int(lengths[0]))]
    return order, [spelled[starts[:count] + position] for position, count in enumerate(counts)]
