"""Which tracks share the next DiT call: pure policy, no arrays.

A track is one item of one song on its way through the sampler: one row of a call, or two when it is guided. A call
costs rows × (longest row + longest condition), because what is shorter is padded; the budget bounds that cost in
tokens and with it the time and the memory of a step.
"""

from collections.abc import Hashable, Iterable
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """What the policy needs to know of a track."""

    @property
    def song(self) -> Hashable:
        """Whose track it is."""

    @property
    def tokens(self) -> int:
        """Length of the track's rows in DiT tokens, padding included."""

    @property
    def slots(self) -> int:
        """Length of the condition it attends to, padding included."""

    @property
    def rows(self) -> int:
        """Rows at its next step; they cannot be told apart."""


Track = TypeVar("Track", bound=Waiting)

# A row may be padded to at most this many times its own length: beyond it, sharing costs more than it saves. Measured
# on 8 songs of 10 to 90 s at once on 2 cores (bench/fair.py), against oldest first at 2.0: least served first takes
# 1.12 times as long at 2.0, 1.02 at 1.5, 0.88 at 1.3.
MAX_PADDING = 1.3
# The most rows that the exported graphs are made and tested for.
MAX_ROWS = 64


def pick(waiting: Iterable[Track], budget: int) -> list[Track]:
    """The tracks of the next call, out of those that wait in the order of their turn (see accounts.py).

    The first always goes, whatever it costs, so nothing starves. A later one joins when the grown call stays within
    the budget and no row is padded beyond MAX_PADDING times its length.
    """
    call: list[Track] = []
    rows = longest = shortest = slots = 0
    for track in waiting:
        grown, shrunk = max(longest, track.tokens), min(shortest or track.tokens, track.tokens)
        wider, more = max(slots, track.slots), rows + track.rows
        fits = more * (grown + wider) <= budget and more <= MAX_ROWS and grown <= MAX_PADDING * shrunk
        if not call or fits:
            call.append(track)
            rows, longest, shortest, slots = more, grown, shrunk, wider
    return call
