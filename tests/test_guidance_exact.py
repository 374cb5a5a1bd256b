"""Guidance equals the reference's formulas."""

import numpy as np
import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance

from pipeline.guidance import ADG_ANGLE, Apg, guide_by_angle


def velocities(seed, frames=333, spread=1.0):
    rng = np.random.default_rng(seed)
    cond = rng.standard_normal((frames, 64), np.float32)
    return cond, cond + spread * rng.standard_normal((frames, 64), np.float32)


@pytest.mark.parametrize("scale", [1.5, 7.0, 15.0])
@pytest.mark.parametrize("spread", [0.01, 1.0])
def test_apg_equals_the_reference_over_several_steps(scale, spread):
    apg, buffer = Apg(scale), MomentumBuffer(-0.75)
    for step in range(5):
        cond, null = velocities(step, spread=spread)
        theirs = normalized_guidance(
            torch.from_numpy(cond)[None], torch.from_numpy(null)[None], scale - 1, buffer, eta=0.0, norm_threshold=2.5,
            use_original_formulation=True, norm_dim=(1,))
        np.testing.assert_allclose(apg.guide(cond, null), theirs[0].numpy(), rtol=1e-5, atol=1e-5)


def test_apg_of_equal_velocities_is_the_velocity():
    cond, _ = velocities(1)
    np.testing.assert_array_equal(Apg(7.0).guide(cond, cond.copy()), cond)


@pytest.mark.parametrize(("scale", "t"), [(7.0, 0.9), (1.2, 0.5), (2.0, 0.05)])
def test_adg_turns_by_the_documented_angle(scale, t):
    x, _ = velocities(9)
    cond, null = velocities(2, spread=0.2)
    with_text, without = x - t * cond, x - t * null
    guided = x - t * guide_by_angle(x, cond, null, t, scale)

    def angle(a, b):
        return np.arccos((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))

    theta = angle(with_text.astype(np.float64), without.astype(np.float64))
    turned = np.minimum((scale - 1 + 1e-3) * theta, ADG_ANGLE)
    # Written out frame by frame from the formula, with an explicit orthonormal pair.
    for frame in range(0, len(x), 37):
        c, u = with_text[frame].astype(np.float64), without[frame].astype(np.float64)
        away = (c - u) - ((c - u) @ u) / (u @ u) * u
        want = np.cos(turned[frame]) * c + away * np.sin(turned[frame]) / np.sin(theta[frame])
        np.testing.assert_allclose(guided[frame], want, rtol=1e-3, atol=1e-4)


def test_adg_of_equal_velocities_keeps_the_prediction():
    x, _ = velocities(9)
    cond, _ = velocities(2)
    guided = guide_by_angle(x, cond, cond.copy(), 0.5, 7.0)
    # θ is clamped away from 0 by 1e-6 in its cosine, so the prediction shrinks by cos(6·θ) ≈ 4e-5 at most.
    np.testing.assert_allclose(x - 0.5 * guided, x - 0.5 * cond, rtol=1e-4, atol=1e-4)
