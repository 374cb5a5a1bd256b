"""Regions: where a source lies in its song, what is made anew, and what is kept bit by bit."""

from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SongError
from pipeline.length import HOP
from pipeline.region import Splice, fade_inside, plan_canvas, region_mask

SECOND = 48_000


def spliced(canvas, source):
    """The splice of this project's own cross-fade."""
    return Splice(canvas, source, fade_inside(canvas))


@pytest.mark.parametrize(
    ("start", "end", "samples", "left", "frames"),
    [
        (2.0, 5.0, 10 * SECOND, 0, (50, 125)),
        (0.0, None, 10 * SECOND, 0, (0, 250)),
        (7.5, None, 10 * SECOND, 0, (187, 250)),
        (-2.0, 3.0, 12 * SECOND, 2 * SECOND, (0, 125)),
        (8.0, 14.0, 14 * SECOND, 0, (200, 350)),
        (-1.0, 12.0, 13 * SECOND, SECOND, (0, 325)),
        (9.999, 10.0, 10 * SECOND, 0, (249, 250)),
    ],
)
def test_a_region_on_the_song_s_time_line(start, end, samples, left, frames):
    canvas = plan_canvas(10 * SECOND, start, end, is_region=True)
    assert (canvas.samples, canvas.left, canvas.frames()) == (samples, left, frames)
    mask = region_mask(canvas)
    assert mask.shape == (max(128, canvas.length.frames), 64)
    assert np.flatnonzero(mask[:, 0]).tolist() == list(range(*frames))


def test_tasks_without_a_region_take_the_whole_source():
    canvas = plan_canvas(123_457, 3.0, 4.0, is_region=False)
    assert (canvas.samples, canvas.left, canvas.is_whole) == (123_457, 0, True)
    assert canvas.length.frames == 65  # the last frame is not cut off


@pytest.mark.parametrize(
    ("start", "end", "line"),
    [
        (5.0, 5.0, r"repaint_end: must be above repaint_start \(5\), and is 5"),
        (5.0, 2.0, r"repaint_end: must be above repaint_start \(5\), and is 2"),
        (10.0, None, r"repaint_end: must be above repaint_start \(10\), and is 10"),
        (10.0, 12.0, r"repaint_start: must be before the source's end \(10 seconds\)"),
        (-5.0, -1.0, r"repaint_end: must be after the source's begin"),
        (0.0, 601.0, r"src_audio: makes a song of 601 seconds; 600 are allowed"),
    ],
)
def test_regions_that_make_no_sense(start, end, line):
    with pytest.raises(SongError, match=line):
        plan_canvas(10 * SECOND, start, end, is_region=True)


@given(st.integers(1, 600 * SECOND))
def test_a_region_that_is_not_told_its_end_holds_every_frame_of_any_length(samples):
    canvas = plan_canvas(samples, 0.0, None, is_region=True)
    assert canvas.frames() == (0, ceil(Fraction(samples, HOP)))
    assert canvas.is_whole


@given(st.integers(1, 600 * SECOND), st.data())
def test_the_borders_of_any_region_are_those_of_exact_arithmetic(samples, data):
    """Seconds as a client sends them: the nearest float to a whole number of samples."""
    begin = data.draw(st.integers(0, samples - 1))
    end = data.draw(st.integers(begin + 1, samples))
    canvas = plan_canvas(samples, begin / SECOND, end / SECOND, is_region=True)
    assert (canvas.begin, canvas.end) == (begin, end)
    frames = ceil(Fraction(samples, HOP))
    last = frames if end == samples else max(floor(Fraction(begin, HOP)) + 1, floor(Fraction(end, HOP)))
    assert canvas.frames() == (min(floor(Fraction(begin, HOP)), frames - 1), last)


def test_no_border_on_the_frame_grid_is_moved_by_float_rounding():
    """1.16 s are 29 frames, although 1.16 * 25 is 28.999999999999996; 925 of these borders were off by one."""
    found = [plan_canvas(15_000 * HOP, k / 25, (k + 1) / 25, is_region=True).frames() for k in range(15_000)]
    assert found == [(k, k + 1) for k in range(15_000)]


def test_a_song_off_the_frame_grid_has_a_last_frame_that_upstream_drops():
    """Decided: 10.013 s are 251 frames, the last of them made anew; upstream knows 250 (samples // 1920)."""
    canvas = plan_canvas(480_624, 5.0, None, is_region=True)
    assert 480_624 // HOP == 250
    assert canvas.frames() == (125, 251)


@pytest.mark.parametrize(("start", "end", "made"), [(0.0, None, range(80)), (1.0, 2.0, range(25, 50))])
def test_what_only_fills_up_a_short_source_is_kept(start, end, made):
    mask = region_mask(plan_canvas(80 * HOP, start, end, is_region=True))
    assert mask.shape == (128, 64)
    assert np.flatnonzero(mask[:, 63]).tolist() == list(made)


def test_a_loud_source_is_clamped_where_it_is_placed_and_where_it_is_put_back():
    loud = np.full((2, 10 * SECOND), 3.0, np.float32)
    loud[1] = -2.0
    canvas = plan_canvas(10 * SECOND, 4.0, 6.0, is_region=True)
    assert (canvas.place(loud) == np.array([[1.0], [-1.0]])).all()
    out = spliced(canvas, loud).apply(0, np.zeros((2, 10 * SECOND), np.float32))
    assert (out[:, :SECOND] == np.array([[1.0], [-1.0]])).all()


def test_outside_the_region_the_source_is_kept_bit_by_bit():
    rng = np.random.default_rng(0)
    source = rng.uniform(-1, 1, (2, 10 * SECOND)).astype(np.float32)
    made = rng.uniform(-1, 1, (2, 10 * SECOND)).astype(np.float32)
    splice = spliced(plan_canvas(10 * SECOND, 3.0, 7.0, is_region=True), source)
    out = np.concatenate([splice.apply(i, made[:, i : i + 100_000]) for i in range(0, 480_000, 100_000)], axis=1)
    begin, end, fade = 3 * SECOND, 7 * SECOND, 10 * HOP
    np.testing.assert_array_equal(out[:, :begin], source[:, :begin])
    np.testing.assert_array_equal(out[:, end:], source[:, end:])
    np.testing.assert_array_equal(out[:, begin + fade : end - fade], made[:, begin + fade : end - fade])
    weight = ((out - source) / (made - source))[0, begin : begin + fade]
    assert weight[0] < 1e-3
    assert weight[-1] > 0.999
    assert np.median(np.diff(np.convolve(weight, np.ones(100) / 100, "valid"))) > 0


def test_what_is_beyond_the_source_is_not_faded():
    source = np.zeros((2, 10 * SECOND), np.float32)
    canvas = plan_canvas(10 * SECOND, -2.0, 3.0, is_region=True)
    made = np.ones((2, canvas.samples), np.float32)
    out = spliced(canvas, source).apply(0, made)
    assert (out[:, : 5 * SECOND - 10 * HOP] == 1).all()
    assert (out[:, 5 * SECOND :] == 0).all()
    assert 0 < out[0, 5 * SECOND - 5 * HOP] < 1


def test_a_region_shorter_than_its_fades_still_joins():
    source = np.zeros((2, 10 * SECOND), np.float32)
    canvas = plan_canvas(10 * SECOND, 4.0, 4.1, is_region=True)
    out = spliced(canvas, source).apply(0, np.ones((2, canvas.samples), np.float32))
    assert (out[:, : 4 * SECOND] == 0).all()
    assert (out[:, 4 * SECOND + 4_800 :] == 0).all()
    assert out[:, 4 * SECOND : 4 * SECOND + 4_800].max() > 0.9
