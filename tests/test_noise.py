"""Noise depends on seed, purpose and position alone."""

import numpy as np
import pytest

from pipeline.noise import draw_normal

PINNED = [0.5705069303512573, -0.053967978805303574, -1.2329131364822388, 1.0675673484802246, 2.075198173522949]


def test_a_longer_song_begins_with_the_shorter_ones_noise():
    short, long = draw_normal(7, "latents", (250, 64)), draw_normal(7, "latents", (15_000, 64))
    np.testing.assert_array_equal(long[:250], short)


def test_values_are_pinned():
    # A change here changes every song ever made with a seed.
    np.testing.assert_array_equal(
        draw_normal(42, "latents", (5,)),
        np.array(PINNED, np.float32),
    )


@pytest.mark.parametrize("other", [(43, "latents"), (42, "vae")])
def test_seed_and_purpose_give_unrelated_streams(other):
    seed, purpose = other
    a, b = draw_normal(42, "latents", (1000, 64)).ravel(), draw_normal(seed, purpose, (1000, 64)).ravel()
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.015  # 4 sigma of 64,000 pairs


def test_it_is_standard_normal():
    x = draw_normal(2**32 - 1, "latents", (15_000, 64)).ravel().astype(np.float64)
    assert abs(x.mean()) < 4 / np.sqrt(x.size)
    assert abs(x.var() - 1) < 4 * np.sqrt(2 / x.size)
    for bound, share in ((1.0, 0.682689), (2.0, 0.954500), (3.0, 0.997300)):
        assert abs((np.abs(x) < bound).mean() - share) < 4 * np.sqrt(share * (1 - share) / x.size)
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 4 / np.sqrt(x.size)

