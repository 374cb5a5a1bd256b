"""The second oracle by itself: numbers worked out by hand, and what no song shows of a timbre."""

import numpy as np
import pytest

from pipeline.timbre import timbre_windows
from tests import exported
from tests.exported import one_thread as one_thread
from tests.support.graphs import Graphs
from tests.support.oracle import masks, repaint, schedule, timbre
from tests.support.oracle.sampler import Memory, Options, apg, bound, differential, step

HOP = masks.HOP
SILENCE = np.arange(15_000, dtype=np.float32)[:, None].repeat(64, axis=1)


@pytest.mark.parametrize(("samples", "begin", "end", "region"), [
    (250 * HOP, 62 * HOP + HOP // 2, 150 * HOP + 960, (62, 150)),  # cut to the frame that is begun
    (250 * HOP + 1, 100 * HOP, 250 * HOP + 1, (100, 251)),  # the song's end: its last frame too
    (250 * HOP + 1, 100 * HOP, 250 * HOP, (100, 250)),
    (80 * HOP, 0, 80 * HOP, (0, 80)),  # padding is no part of it
    (250 * HOP, 10 * HOP, 10 * HOP + 5, (10, 11)),  # never empty
    (250 * HOP + 5, 250 * HOP, 250 * HOP + 5, (250, 251)),
])
def test_regions(samples, begin, end, region):
    found = masks.canvas(samples, begin, end)
    assert (found.first, found.last) == region
    assert found.visible == max(128, found.frames)


def test_what_pads_a_short_source_is_kept_silence_from_its_first_frame():
    where = masks.canvas(80 * HOP, 20 * HOP, 40 * HOP)
    clean = masks.fill(np.full((80, 64), -1, np.float32), SILENCE, where.visible)
    seen = masks.followed("repaint", clean, SILENCE, where)[:, 0]
    assert seen.tolist() == [-1] * 20 + list(range(20, 40)) + [-1] * 40 + list(range(48))
    assert masks.followed("lego", clean, SILENCE, where)[:, 0].tolist() == [-1] * 80 + list(range(48))
    assert masks.mask("lego", "explicit", where)[:, 0].tolist() == [0] * 20 + [1] * 20 + [0] * 88
    assert masks.mask("extract", "explicit", where).min() == 1
    assert set(masks.mask("lego", "auto", where).ravel()) == {2}


@pytest.mark.parametrize(("mode", "strength", "keeping"), [
    ("aggressive", 0.5, (0.0, 0, 0.0)), ("conservative", 1.0, (1.0, 25, 0.05)), ("balanced", 0.5, (0.5, 12, 0.025)),
    ("balanced", 0.3, (0.7, 18, 0.035)), ("balanced", 0.0, (1.0, 25, 0.05)),
])
def test_repaint_modes(mode, strength, keeping):
    found = repaint.keeping(mode, strength)
    assert (found.share, found.frames, found.seconds) == pytest.approx(keeping)


def test_ramps_lie_outside_the_region_and_are_whole_where_an_end_cuts_them_short():
    assert repaint.ramp(8, 3, 5, 2) == pytest.approx([0, 1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3, 0])
    assert repaint.ramp(5, 1, 4, 3) == pytest.approx([1 / 2, 1, 1, 1, 1 / 2])


def test_a_step_by_hand():
    """From t = 0.8 to 0.3 with v = 2: x − v·0.5; the data is x − v·0.8."""
    x, noise = np.full((2, 64), 3.0), np.full((2, 64), 10, np.float32)

    def evaluate(at, t):
        return np.full_like(at, 2.0) + t * (at[0, 0] == 2.0), None  # 2.3 where Heun looks again

    def end(t_next, **options):
        return step(x, 0.8, t_next, evaluate, Options(is_turbo=True, **options), Memory(), noise)[0, 0]

    assert end(0.3) == pytest.approx(2.0)
    assert end(0.3, method="sde") == pytest.approx(0.3 * 10 + 0.7 * 1.4)
    assert end(0.3, is_heun=True) == pytest.approx(3 - 0.5 * (2 + 2.3) / 2)
    assert end(0.0, is_heun=True) == end(0.0, method="sde") == pytest.approx(1.4)
    assert end(0.3, norm_threshold=0.5) == pytest.approx(3 - 0.5 * 1.5)
    assert end(0.3, dcw="pix", dcw_scaler=0.1) == pytest.approx(2.0 + 0.1 * (2.0 - 1.4))


def test_bands_by_hand():
    """Of (a, b) the low band moves the mean and the high one what is about it; a last frame has a zero beside it."""
    x, data = np.array([[5.0], [1.0], [4.0]]), np.zeros((3, 1))
    low = differential(x, data, 0.5, Options(is_turbo=True, dcw="low", dcw_scaler=0.2))
    assert low[:, 0] == pytest.approx([5 + 0.1 * 3, 1 + 0.1 * 3, 4 + 0.1 * 2])
    high = differential(x, data, 0.75, Options(is_turbo=True, dcw="high", dcw_scaler=0.2))
    assert high[:, 0] == pytest.approx([5 + 0.05 * 2, 1 - 0.05 * 2, 4 + 0.05 * 2])


def test_guidance_by_hand():
    cond, null = np.array([[3.0], [0.0]]), np.array([[0.0], [-4.0]])
    # The difference (3, 4) has norm 5, of which 2.5 is left: (1.5, 2); the part along v_c = (3, 0) falls away.
    assert apg(cond, null, 2.0, Memory())[:, 0] == pytest.approx([3, 2])
    assert bound(cond, np.array([[0.3], [0.4]]), Options(True, norm_threshold=2.0))[:, 0] == pytest.approx([1, 0])


def test_a_cover_begins_at_the_first_of_two_times_that_are_as_near():
    noise, source = np.ones((2, 64), np.float32), np.full((2, 64), 3, np.float32)
    x, times = schedule.begin(noise, source, schedule.schedule(True, 4, 1.0, None), 0.375)
    assert times == [0.75, 0.5, 0.25]
    assert x[0, 0] == pytest.approx(0.75 + 0.25 * 3)
    assert schedule.switch(times, 0.5) == 1


@pytest.mark.parametrize("samples", [48_000 * 8, 48_000 * 30, 48_000 * 31 + 7, 48_000 * 95 + 11])
def test_the_pipeline_hears_the_same_windows_of_a_reference(samples):
    audio = np.random.default_rng(0).uniform(-1, 1, (2, samples)).astype(np.float32)
    found = timbre.windows(audio)
    assert found is not None
    np.testing.assert_array_equal(timbre_windows(audio), found)


@pytest.mark.parametrize("dit", [exported.TURBO, exported.BASE])
def test_a_condition_has_lyrics_then_timbre_then_text(dit):
    """What changes in one branch alone changes that branch's rows alone."""
    random = np.random.default_rng(0)

    def draw(rows: int, width: int) -> np.ndarray:
        return random.standard_normal((1, rows, width), np.float32)

    inputs = {
        "text_hidden_states": draw(7, 32), "text_mask": np.ones((1, 7), np.bool_),
        "lyric_hidden_states": draw(11, 32), "lyric_mask": np.ones((1, 11), np.bool_),
        "refer_latents": draw(750, 64),
    }
    graphs, place = Graphs(exported.repository()), timbre.order(11, 7)

    def rows(changed: str | None) -> np.ndarray:
        new = dict(inputs) if changed is None else inputs | {changed: inputs[changed] + 1}
        return graphs.run(f"{dit}-condition", new)[0][0]

    before = rows(None)
    moved = {name: set(np.flatnonzero((rows(name) != before).any(axis=1)))
             for name in ("lyric_hidden_states", "refer_latents", "text_hidden_states")}
    assert moved == {"lyric_hidden_states": set(place.lyrics), "refer_latents": {place.timbre},
                     "text_hidden_states": set(place.text)}
