"""Which tracks share a DiT call."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.batcher import MAX_PADDING, pick


@dataclass(frozen=True)
class Track:
    name: str
    tokens: int
    rows: int = 1
    slots: int = 0
    song: int = 0


def names(tokens, budget):
    return [track.name for track in pick([Track(chr(97 + i), n) for i, n in enumerate(tokens)], budget)]


def test_all_that_fit_go_together():
    assert names([100, 100, 100], 300) == ["a", "b", "c"]


def test_padding_counts():
    # Two rows of 130 fit; a third would make 3 × 130.
    assert names([100, 130, 100], 380) == ["a", "b"]


def test_a_later_one_that_fits_passes_one_that_does_not():
    assert names([100, 900, 100], 300) == ["a", "c"]


def test_nobody_is_padded_beyond_a_third_of_its_length():
    assert names([100, 140, 130], 10_000) == ["a", "c"]


def test_the_first_always_goes():
    assert names([9_000, 10], 100) == ["a"]


def test_nothing_waits_nothing_goes():
    assert names([], 100) == []


def test_any_queue_is_served_in_its_order_within_the_budget():
    rng = np.random.default_rng(0)
    for _ in range(300):
        queue = [Track(f"{i:02}", int(n)) for i, n in enumerate(rng.integers(1, 800, rng.integers(1, 20)))]
        budget = int(rng.integers(100, 4_000))
        call = pick(queue, budget)
        assert call[0] is queue[0]
        assert all(a.name < b.name for a, b in pairwise(call))
        longest = max(track.tokens for track in call)
        assert len(call) == 1 or len(call) * longest <= budget
        assert longest <= MAX_PADDING * min(track.tokens for track in call)


def test_conditions_count():
    queue = [Track("a", 100, slots=20), Track("b", 100, slots=60), Track("c", 100, slots=20)]
    assert [track.name for track in pick(queue, 320)] == ["a", "b"]


def test_there_are_never_more_rows_than_the_graphs_take():
    assert len(pick([Track(str(i), 1) for i in range(100)], 10_000)) == 64
    assert len(pick([Track(str(i), 1, 2) for i in range(100)], 10_000)) == 32


def test_a_guided_track_takes_two_rows():
    queue = [Track("a", 100, 2), Track("b", 100, 2), Track("c", 100, 1)]
    assert [track.name for track in pick(queue, 300)] == ["a", "c"]
