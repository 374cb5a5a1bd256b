"""The formulas of the sampler's options, each against numbers worked out by hand."""

import numpy as np
import pytest

from pipeline.dcw import Dcw
from pipeline.region import fade_outside, plan_canvas, ramps
from pipeline.repaint import Keeping, Kept
from pipeline.sampler import bound_velocity, smooth_velocity

SECOND = 48_000


def column(*values: float) -> np.ndarray:
    """Latents of one channel that count."""
    return np.array(values, np.float32)[:, None]


@pytest.mark.parametrize(("mode", "expected"), [
    # x − clean is (4, 2, 6); Haar pairs are (4, 2) and (6, 0): means 3 and 3, half differences 1 and 3.
    ("low", (5 + 0.05 * 3, 5 + 0.05 * 3, 5 + 0.05 * 3)),
    ("high", (5 + 0.05 * 1, 5 - 0.05 * 1, 5 + 0.05 * 3)),
    ("double", (5 + 0.05 * 3 + 0.02 * 1, 5 + 0.05 * 3 - 0.02 * 1, 5 + 0.05 * 3 + 0.02 * 3)),
    ("pix", (5 + 0.1 * 4, 5 + 0.1 * 2, 5 + 0.1 * 6)),
])
def test_the_bands_of_a_step_are_pushed_away_from_the_clean_latents(mode, expected):
    found = Dcw(mode, 0.1, 0.04).correct(column(5, 5, 5), column(1, 3, -1), t=0.5)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(("t", "expected"), [(1.0, 5.3), (0.0, 5.0)])
def test_the_low_band_counts_at_the_begin_and_not_at_the_end(t, expected):
    found = Dcw("low", 0.1, 0.0).correct(column(5, 5), column(1, 3), t)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


def test_a_velocity_is_bounded_by_the_norm_of_the_latents():
    x, velocity = column(3, 4), column(6, 8)
    np.testing.assert_allclose(bound_velocity(x, velocity, 0.5), column(1.5, 2.0), rtol=1e-6)
    np.testing.assert_array_equal(bound_velocity(x, velocity, 2.5), velocity)
    np.testing.assert_array_equal(bound_velocity(x, velocity, 0.0), velocity)
    assert not bound_velocity(x, column(0, 0), 0.5).any()


def test_a_velocity_takes_its_share_of_the_one_before():
    np.testing.assert_allclose(smooth_velocity(column(10), column(20), 0.1), column(11))
    np.testing.assert_array_equal(smooth_velocity(column(10), None, 0.1), column(10))
    np.testing.assert_array_equal(smooth_velocity(column(10), column(20), 0.0), column(10))


@pytest.mark.parametrize(("mode", "strength", "keeping"), [
    ("conservative", 0.9, Keeping(1.0, 25, 2_400, True)),
    ("aggressive", 0.1, Keeping(0.0, 0, 0, False)),
    ("balanced", 0.0, Keeping(1.0, 25, 2_400, True)),
    ("balanced", 0.5, Keeping(0.5, 12, 1_200, True)),  # Python rounds 12.5 to the even 12, here as upstream
    ("balanced", 1.0, Keeping(0.0, 0, 0, True)),
])
def test_modes_say_how_much_of_the_source_is_put_back(mode, strength, keeping):
    assert Keeping.of(mode, strength) == keeping


def test_kept_frames_are_the_source_noised_to_the_step_s_end_in_the_first_steps():
    kept = Kept(clean=column(1, 1, 1, 1), noise=column(9, 9, 9, 9), first=1, last=3, steps=2, blend_frames=0)
    x = column(5, 6, 7, 8)
    np.testing.assert_allclose(kept.inject(x, step=1, t=0.25), column(3, 6, 7, 3))
    np.testing.assert_array_equal(kept.inject(x, step=2, t=0.25), x)
    np.testing.assert_array_equal(kept.blend(x), x)


def test_the_finished_latents_fade_into_the_source_outside_the_region():
    kept = Kept(clean=column(*[0] * 8), noise=column(*[0] * 8), first=4, last=6, steps=0, blend_frames=3)
    found = kept.blend(column(*[1] * 8))
    np.testing.assert_allclose(found[:, 0], [0, 0.25, 0.5, 0.75, 1, 1, 2 / 3, 1 / 3], rtol=1e-6)


def test_a_region_at_the_song_s_border_has_no_ramp_there():
    np.testing.assert_allclose(ramps(4, 0, 2, 3), [1, 1, 2 / 3, 1 / 3], rtol=1e-6)
    weight = fade_outside(plan_canvas(10 * SECOND, 3.0, 7.0, is_region=True), 2_400)
    assert weight[3 * SECOND - 2_400] == np.float32(1 / 2_401)
    assert (weight[: 3 * SECOND - 2_400] == 0).all()
    assert (weight[3 * SECOND : 7 * SECOND] == 1).all()
    assert (weight[7 * SECOND + 2_400 :] == 0).all()
