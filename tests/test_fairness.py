"""Songs share a DiT fairly: a short one passes long ones, nobody starves, and nothing is lost by it."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.accounts import Accounts, split_cost
from pipeline.batcher import MAX_PADDING, MAX_ROWS, pick

BUDGET, PLACES = 4_096, 8


@dataclass(eq=False)
class Item:
    """A track as the policy sees it; `starts` in simulated seconds."""

    song: int
    tokens: int
    steps: int
    rows: int = 1
    slots: int = 64
    starts: float = 0.0
    served: list[float] = field(default_factory=list)

    @property
    def alone(self) -> float:
        """What one step costs without company."""
        return float(self.rows * (self.tokens + self.slots))

    @property
    def is_done(self) -> bool:
        return len(self.served) == self.steps


class OldestFirst(Accounts):
    """The rule that this one has replaced."""

    def in_turn(self, tracks):
        return list(tracks)


def cost(call: list[Item]) -> float:
    """Rows × (longest + longest condition)."""
    return float(sum(i.rows for i in call) * (max(i.tokens for i in call) + max(i.slots for i in call)))


def simulate(items: Iterable[Item], accounts: Accounts, budget: int = BUDGET) -> list[tuple[float, list[Item]]]:
    """Every call with its end; an item's `served` gets the ends of its steps. Songs wait for one of 8 places."""
    coming = sorted(items, key=lambda item: item.starts)
    waiting: list[Item] = []
    calls, now = [], 0.0

    def admit() -> None:
        while coming and coming[0].starts <= now:
            if len({item.song for item in waiting} | {coming[0].song}) > PLACES:
                return
            waiting.append(coming.pop(0))
            accounts.open(waiting[-1].song)

    while coming or waiting:
        if not waiting:
            now = max(now, coming[0].starts)
        admit()
        call = pick(accounts.in_turn(waiting), budget)
        now += cost(call)
        admit()  # who comes during a call is there before it is charged
        accounts.charge(split_cost(call, cost(call)))
        calls.append((now, call))
        for item in call:
            item.served.append(now)
            if item.is_done:
                waiting.remove(item)
                if all(other.song != item.song for other in waiting):
                    accounts.close(item.song)
    return calls


def seconds(count: float) -> int:
    """DiT tokens of a song that long."""
    return -(-int(count * 25) // 64) * 32


def long_song(length: float, steps: int = 200, rows: int = 2) -> Item:
    return Item(0, seconds(length), steps, rows)


def test_a_short_song_waits_for_one_step_of_a_long_one_at_most_two():
    for starts in (1.0, 15_000.0, 20_000.0, 1e6 + 7):
        for steps in (8, 32, 50):
            minutes = long_song(600)
            short = Item(1, seconds(10), steps, 2, starts=starts)
            simulate([minutes, short], Accounts())
            taken = short.served[-1] - starts
            assert taken <= steps * short.alone + 2 * minutes.alone, (starts, steps)


def test_a_short_song_beside_a_minute_takes_at_most_three_times_its_own():
    for starts in (1.0, 500.0, 5_000.0):
        minute, short = Item(0, seconds(60), 8), Item(1, seconds(10), 8, starts=starts)
        simulate([minute, short], Accounts())
        assert short.served[-1] - starts <= 3 * 8 * short.alone


def test_the_old_rule_held_a_short_song_until_the_long_one_ended():
    minutes, short = long_song(600), Item(1, seconds(10), 8, starts=1.0)
    simulate([minutes, short], OldestFirst())
    assert short.served[0] > minutes.served[-1]


def test_a_newcomer_does_not_hold_up_those_before_it():
    """Two equal songs, one of them an hour older: from then on they take turns."""
    old, new = Item(0, seconds(60), 400), Item(1, seconds(200), 50, starts=200_000.0)
    calls = simulate([old, new], Accounts())
    between = [call[0] for end, call in calls if 200_000 < end <= new.served[-1]]
    shared = {item.song: sum(i.alone for i in between if i is item) for item in (old, new)}
    assert 0.8 < shared[0] / shared[1] < 1.25


def test_a_stream_of_short_songs_does_not_starve_a_long_one():
    """One short song after the other, each sent a moment before the last one ends, with one step or with eight."""
    for steps in (1, 8):
        short = Item(1, seconds(10), steps)
        minutes = long_song(600, steps=8)
        apart = steps * short.alone * 0.9
        stream = [Item(1 + i, seconds(10), steps, starts=10 + apart * i) for i in range(3_000)]
        simulate([minutes, *stream], Accounts())
        waits = [b - a for a, b in itertools.pairwise(minutes.served)]
        assert max(waits) <= 6 * minutes.alone, steps


def test_items_of_a_song_share_their_calls():
    calls = simulate([Item(0, seconds(30), 8) for _ in range(8)], Accounts(), 8_192)
    assert [len(call) for _, call in calls] == [8] * 8


def test_a_song_of_many_items_counts_as_one_song():
    crowd = [Item(0, seconds(60), 50) for _ in range(8)]
    single = Item(1, seconds(20), 50, starts=100.0)
    calls = simulate([*crowd, single], Accounts())
    until = [call for end, call in calls if 100 < end <= single.served[-1]]
    others = sum(cost(call) for call in until if single not in call)
    assert others <= 50 * single.alone + 2 * 4 * crowd[0].alone


def test_a_mixed_load_is_through_as_soon_as_before():
    def load() -> list[Item]:
        lengths = [10, 30, 60, 120, 15, 45, 60, 240, 10, 30, 60, 90] * 4
        return [Item(n, seconds(length), 8, starts=n * 1_500.0) for n, length in enumerate(lengths) for _ in range(2)]

    fair, before = simulate(load(), Accounts())[-1][0], simulate(load(), OldestFirst())[-1][0]
    assert fair <= 1.05 * before


songs = st.builds(
    Item, song=st.just(0), tokens=st.integers(64, 7_520), steps=st.integers(1, 12), rows=st.sampled_from([1, 2]),
    slots=st.sampled_from([32, 64, 512]), starts=st.floats(0, 100_000))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(songs, st.integers(1, 4)), min_size=1, max_size=8), st.integers(500, 16_384))
def test_every_song_goes_on_within_a_bound(drawn, budget):
    """Between two steps of a song the others get at most twice, each, what it has in one step and one of their own."""
    items = [
        Item(number, song.tokens, song.steps, song.rows, song.slots, song.starts)
        for number, (song, count) in enumerate(drawn) for _ in range(count)
    ]
    calls = simulate(items, Accounts(), budget)
    assert all(item.is_done for item in items)
    for _, call in calls:
        assert len(call) == 1 or cost(call) <= budget
        assert sum(item.rows for item in call) <= MAX_ROWS
        assert max(i.tokens for i in call) <= MAX_PADDING * min(i.tokens for i in call)
    largest = {song: max(cost(call) for _, call in calls if any(i.song == song for i in call))
               for song in range(len(drawn))}
    for song, most in largest.items():
        mine = [end for end, call in calls if any(item.song == song for item in call)]
        bound = len(drawn) * most + sum(size for other, size in largest.items() if other != song)
        for begin, end in itertools.pairwise([max(min(i.starts for i in items if i.song == song), 0.0), *mine]):
            assert end - begin <= 2 * bound + most
