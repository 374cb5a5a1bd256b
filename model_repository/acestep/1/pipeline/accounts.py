"""Whose turn it is: songs in the order of the service they have received. Pure policy, no arrays, no asyncio.

Fair queueing among songs: each has an account of the compute that was spent on it, and the next call is led by the one
that has received least. Service is counted in seconds of DiT calls: that is what a song takes from the others, and
attention makes a token of a long song dearer than one of a short song.

- A newcomer's account begins at the mean of those that are there. At 0 it would get all service until it had caught
  up with the oldest; at the least of them, a stream of newcomers could hold the others up for ever.
- Nobody is more than its own last share of a call ahead of the least served. So a song that often joins calls of
  others, where there was room for it, does not pay for that by waiting many steps later.

Between two steps of a song each other song therefore receives a bounded share: at most twice what that song has in one
step and what it has itself in one, because a step cannot be interrupted (tests/test_fairness.py).
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

from .batcher import Waiting

Track = TypeVar("Track", bound=Waiting)


class Accounts:
    """Seconds of service that each song of one DiT has received, as far as they count."""

    def __init__(self) -> None:
        self._received: dict[Hashable, float] = {}

    def open(self, song: Hashable) -> None:
        """The song takes part from now on; one that does already goes on."""
        if song not in self._received:
            self._received[song] = fmean(self._received.values()) if self._received else 0.0

    def close(self, song: Hashable) -> None:
        """The song takes part no more."""
        self._received.pop(song, None)

    def in_turn(self, tracks: Iterable[Track]) -> list[Track]:
        """Tracks of open songs, the least served song's first; in the order given where that is equal."""
        return sorted(tracks, key=lambda track: self._received[track.song])

    def charge(self, shares: Mapping[Hashable, float]) -> None:
        """Adds to each song what it had of a call; songs that have closed meanwhile are left out."""
        shares = {song: amount for song, amount in shares.items() if song in self._received}
        for song, amount in shares.items():
            self._received[song] += amount
        least = min(self._received.values(), default=0.0)
        for song, amount in shares.items():
            self._received[song] = min(self._received[song], least + amount)


def split_cost(call: Sequence[Waiting], cost: float) -> dict[Hashable, float]:
    """Each song's share of a call's cost, by what its rows would be without padding."""
    sizes: dict[Hashable, int] = {}
    for track in call:
        sizes[track.song] = sizes.get(track.song, 0) + track.rows * (track.tokens + track.slots)
    whole = sum(sizes.values())
    return {song: cost * size / whole for song, size in sizes.items()}
