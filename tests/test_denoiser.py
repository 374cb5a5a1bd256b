"""The step loop: who shares a call, who leaves, and what nobody notices."""

import asyncio

import numpy as np
import pytest

from pipeline.dcw import Dcw
from pipeline.denoiser import Denoiser
from pipeline.errors import NOT_READY, SongError
from pipeline.guidance import Apg
from pipeline.models import Condition, DitCall
from pipeline.noise import draw_normal
from pipeline.track import Course, Guidance, Stage, Track


def stage(rng, frames, slots, begin=0):
    return Stage(begin, Condition(rng.standard_normal((slots, 8), np.float32)),
                 rng.standard_normal((frames, 128), np.float32))


def track(seed=1, frames=200, slots=20, schedule=(1.0, 0.5), on_step=lambda step: None, **course):
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((frames, 64), np.float32)
    return Track(seed, latents, (stage(rng, frames, slots),), Course(schedule, **course), on_step)


class Dit:
    """A velocity that is a formula: per row, from that row's valid inputs alone."""

    def __init__(self):
        self.calls: list[DitCall] = []

    async def __call__(self, call: DitCall) -> np.ndarray:
        self.calls.append(DitCall(*(array.copy() for array in vars(call).values())))
        await asyncio.sleep(0)
        weight = (call.encoder_hidden_states.sum(2) * call.encoder_mask).sum(1)[:, None, None]
        source = call.context_latents[..., :64]
        return call.hidden_states * call.timestep[:, :, None] + np.float32(0.01) * weight + source


def velocity(x, t, hidden, context):
    return x * np.float32(t) + np.float32(0.01) * hidden.sum() + context[:, :64]


def expected(item: Track) -> np.ndarray:
    x, schedule, first = item.latents, item.course.schedule, item.stages[0]
    for t, t_next in zip(schedule, (*schedule[1:], 0.0), strict=True):
        x = x - velocity(x, t, first.condition.hidden, first.context) * np.float32(t - t_next)
    return x


async def test_rows_of_other_lengths_share_a_call():
    tracks = [track(1, 200, 20), track(2, 231, 33), track(3, 300, 7, (0.9, 0.6, 0.3))]
    wanted = [expected(item) for item in tracks]
    dit = Dit()
    denoiser = Denoiser(dit, 10_000)
    results = await asyncio.gather(*(denoiser.denoise(item) for item in tracks))
    for result, want in zip(results, wanted, strict=True):
        np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-4)
    assert [len(call.timestep) for call in dit.calls] == [3, 3, 1]
    first = dit.calls[0]
    assert first.hidden_states.shape == (3, 320, 64)
    assert first.encoder_mask.shape == (3, 64)
    assert first.latent_mask.sum(1).tolist() == [200, 231, 300]
    assert first.encoder_mask.sum(1).tolist() == [20, 33, 7]
    assert not first.hidden_states[1, 231:].any()
    assert dit.calls[2].hidden_states.shape == (1, 320, 64)
    assert dit.calls[2].timestep[0, 0] == np.float32(0.3)


async def test_a_track_joins_between_steps():
    dit = Dit()
    denoiser = Denoiser(dit, 10_000)
    later: list[asyncio.Task] = []
    first = track(1, schedule=(1.0, 0.8, 0.6, 0.4))
    first.on_step = lambda step: later.append(asyncio.create_task(denoiser.denoise(track(2)))) if step == 2 else None
    await denoiser.denoise(first)
    await asyncio.gather(*later)
    sizes = [len(call.timestep) for call in dit.calls]
    assert sizes[:2] == [1, 1]
    assert 2 in sizes


async def test_leaving_ends_one_track_alone():
    def leave(step):
        raise SongError(499, "the song was cancelled")

    dit = Dit()
    denoiser = Denoiser(dit, 10_000)
    stays = track(1)
    want = expected(stays)
    left, kept = await asyncio.gather(
        denoiser.denoise(track(2, on_step=leave)), denoiser.denoise(stays), return_exceptions=True)
    assert isinstance(left, SongError)
    assert isinstance(kept, np.ndarray)
    np.testing.assert_allclose(kept, want, rtol=1e-4, atol=1e-4)
    assert [len(call.timestep) for call in dit.calls] == [2, 1]


async def test_a_cancelled_waiter_frees_its_row():
    dit = Dit()
    denoiser = Denoiser(dit, 10_000)
    task = asyncio.create_task(denoiser.denoise(track(2, schedule=tuple(np.linspace(1, 0.01, 1000)))))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    calls = len(dit.calls)
    await asyncio.sleep(0.01)
    assert len(dit.calls) <= calls + 1


async def test_a_failing_call_fails_its_rows_and_the_loop_lives_on():
    async def broken(call):
        if len(call.timestep) == 2:
            raise SongError(NOT_READY, "model x-dit is not available")
        return np.zeros_like(call.hidden_states)

    denoiser = Denoiser(broken, 10_000)
    results = await asyncio.gather(
        denoiser.denoise(track(1)), denoiser.denoise(track(2)), return_exceptions=True)
    assert [getattr(result, "status", None) for result in results] == [503, 503]
    assert (await denoiser.denoise(track(3))).shape == (200, 64)


async def test_the_budget_bounds_a_call_and_everybody_ends():
    dit = Dit()
    denoiser = Denoiser(dit, 350)
    results = await asyncio.gather(*(denoiser.denoise(track(i, frames=200)) for i in range(5)))
    assert len(results) == 5
    # 200 frames are padded to 256, which is 128 tokens, and 20 slots to 32: two rows in a budget of 350.
    assert [len(call.timestep) for call in dit.calls] == [2, 2, 2, 2, 2]


@pytest.mark.parametrize("frames", [128, 129, 191, 192])
async def test_rows_are_padded_to_buckets_even_alone(frames):
    dit = Dit()
    await Denoiser(dit, 1).denoise(track(frames=frames, slots=33))
    assert dit.calls[0].hidden_states.shape == (1, 128 if frames == 128 else 192, 64)
    assert dit.calls[0].encoder_hidden_states.shape == (1, 64, 8)


async def test_a_guided_track_has_two_rows_while_guidance_is_on():
    null = np.linspace(-1, 1, 8, dtype=np.float32)
    item = track(1, slots=20, schedule=(1.0, 0.7, 0.3), guidance=Guidance(3.0, 0.5, 0.8, False, null))
    x, first, apg = item.latents, item.stages[0], Apg(3.0)
    for t, t_next in ((1.0, 0.7), (0.7, 0.3), (0.3, 0.0)):
        cond = velocity(x, t, first.condition.hidden, first.context)
        if t == 0.7:
            cond = apg.guide(cond, velocity(x, t, np.tile(null, (20, 1)), first.context))
        x = x - cond * np.float32(t - t_next)
    dit = Dit()
    result = await Denoiser(dit, 10_000).denoise(item)
    np.testing.assert_allclose(result, x, rtol=1e-4, atol=1e-4)
    assert [len(call.timestep) for call in dit.calls] == [1, 2, 1]
    pair = dit.calls[1]
    np.testing.assert_array_equal(pair.encoder_mask[0], pair.encoder_mask[1])
    np.testing.assert_array_equal(pair.latent_mask[0], pair.latent_mask[1])
    np.testing.assert_array_equal(pair.context_latents[0], pair.context_latents[1])
    np.testing.assert_array_equal(pair.encoder_hidden_states[1, :20], np.tile(null, (20, 1)))


async def test_a_short_song_that_comes_during_a_long_one_s_step_goes_next():
    """The service of a call is what it took by the clock: here a second for each frame."""
    now = 0.0
    frames: list[int] = []
    later: list[asyncio.Task] = []

    async def slow(call):
        nonlocal now
        now += call.hidden_states.shape[1]
        frames.append(call.hidden_states.shape[1])
        if len(frames) == 2:
            later.append(asyncio.create_task(denoiser.denoise(track(2, 128, schedule=(1.0, 0.8, 0.6, 0.4)))))
        await asyncio.sleep(0)
        return np.zeros_like(call.hidden_states)

    denoiser = Denoiser(slow, 10_000, clock=lambda: now)
    await denoiser.denoise(track(1, 1_280, schedule=tuple(np.linspace(1, 0.2, 5))))
    await asyncio.gather(*later)
    assert frames == [1_280, 1_280, 128, 128, 128, 128, 1_280, 1_280, 1_280]


async def test_a_stage_changes_what_is_followed_from_its_step_on():
    item = track(1, schedule=(1.0, 0.6, 0.2))
    later = stage(np.random.default_rng(9), 200, 31, begin=2)
    item.stages = (*item.stages, later)
    x = item.latents
    for step, (t, t_next) in enumerate(((1.0, 0.6), (0.6, 0.2), (0.2, 0.0))):
        now = item.stages[0] if step < 2 else later
        x = x - velocity(x, t, now.condition.hidden, now.context) * np.float32(t - t_next)
    np.testing.assert_allclose(await Denoiser(Dit(), 10_000).denoise(item), x, rtol=1e-4, atol=1e-4)


async def test_sde_draws_its_noise_by_seed_and_step():
    item = track(5, schedule=(1.0, 0.4), method="sde")
    x, first = item.latents, item.stages[0]
    data = x - velocity(x, 1.0, first.condition.hidden, first.context)
    x = np.float32(0.4) * draw_normal(5, "sde 0", x.shape) + np.float32(0.6) * data
    x = x - velocity(x, 0.4, first.condition.hidden, first.context) * np.float32(0.4)
    np.testing.assert_allclose(await Denoiser(Dit(), 10_000).denoise(item), x, rtol=1e-4, atol=1e-4)


async def test_a_pair_counts_twice_in_the_budget():
    guidance = Guidance(3.0, 0.0, 1.0, False, np.zeros(8, np.float32))
    dit = Dit()
    denoiser = Denoiser(dit, 480)  # three rows of 128 tokens and 32 slots
    await asyncio.gather(*(denoiser.denoise(track(i, guidance=guidance)) for i in range(2)))
    assert [len(call.timestep) for call in dit.calls] == [2, 2, 2, 2]


async def test_a_velocity_of_the_wrong_shape_fails_its_song_instead_of_hanging_it():
    async def wrong(call):
        return np.zeros((1, 3, 64), np.float32)

    denoiser = Denoiser(wrong, 10_000)
    with pytest.raises(ValueError, match="broadcast"):
        await asyncio.wait_for(denoiser.denoise(track(1)), 5)


@pytest.mark.parametrize(("options", "evaluations"), [
    ({"is_heun": True}, 6), ({"is_heun": True, "ends_plainly": True}, 5),
    ({"norm_threshold": 0.5, "ema_factor": 0.2, "dcw": Dcw("double", 0.05, 0.02)}, 3),
    ({"is_heun": True, "ema_factor": 0.3, "norm_threshold": 1.0, "dcw": Dcw("low", 0.1, 0.0)}, 6),
], ids=["heun", "heun on turbo", "tamed and corrected", "all"])
async def test_a_track_with_options_is_the_same_alone_and_among_others(options, evaluations):
    """Every option looks at the track's own frames alone: at neither its neighbours' nor the padding of the call."""
    dit = Dit()
    alone = await Denoiser(dit, 10_000).denoise(track(1, 131, 20, (1.0, 0.6, 0.2), **options))
    assert len(dit.calls) == evaluations
    denoiser = Denoiser(Dit(), 10_000)
    among, *_ = await asyncio.gather(
        denoiser.denoise(track(1, 131, 20, (1.0, 0.6, 0.2), **options)),
        denoiser.denoise(track(2, 256, 40)), denoiser.denoise(track(3, 190, 7, (0.9, 0.5, 0.3, 0.1), is_heun=True)))
    np.testing.assert_array_equal(among, alone)
    plain = await Denoiser(Dit(), 10_000).denoise(track(1, 131, 20, (1.0, 0.6, 0.2)))
    assert np.abs(alone - plain).max() > 1e-3
