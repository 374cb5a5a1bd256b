"""Every sampler field does what it says: it changes the song, or leaves its bytes alone where the rule says so."""

from typing import Any

import numpy as np
import pytest

from tests.pipeline_client import sing
from tests.support.cases import BASE, TURBO, tune

SOURCE = tune(6)
PLAIN: dict[str, dict[str, Any]] = {
    TURBO: {"model": TURBO, "caption": "bells", "duration": 10, "seeds": [4], "steps": 4},
    BASE: {"model": BASE, "caption": "bells", "duration": 10, "seeds": [4], "steps": 4, "guidance_scale": 3.0},
    "cover": {"model": TURBO, "caption": "bells", "seeds": [4], "steps": 4, "task": "cover", "src_audio": SOURCE},
    "repaint": {"model": TURBO, "caption": "bells", "seeds": [4], "steps": 4, "task": "repaint", "src_audio": SOURCE,
                "repaint_start": 2.0, "repaint_end": 4.0},
    "dcw": {"model": TURBO, "caption": "bells", "duration": 10, "seeds": [4], "steps": 4, "dcw_enabled": True},
    "low": {"model": TURBO, "caption": "bells", "duration": 10, "seeds": [4], "steps": 4, "dcw_enabled": True,
            "dcw_mode": "low"},
    "sde": {"model": TURBO, "caption": "bells", "duration": 10, "seeds": [4], "steps": 4, "infer_method": "sde"},
    "balanced": {"model": TURBO, "caption": "bells", "seeds": [4], "steps": 4, "task": "repaint", "src_audio": SOURCE,
                 "repaint_start": 2.0, "repaint_end": 4.0, "repaint_mode": "balanced"},
    "stem": {"model": BASE, "caption": "bells", "seeds": [4], "steps": 4, "task": "lego", "src_audio": SOURCE,
             "tracks": ["drums"], "repaint_start": 2.0, "repaint_end": 4.0},
    **{task: {"model": BASE, "caption": "bells", "seeds": [4], "steps": 2, "task": task, "src_audio": SOURCE,
              "tracks": ["drums"]} for task in ("lego", "extract", "complete")},
}
CHANGES: list[tuple[str, dict[str, Any]]] = [
    (TURBO, {"seeds": [5]}), (TURBO, {"steps": 5}), (TURBO, {"shift": 1.0}), (TURBO, {"timesteps": [1.0, 0.5]}),
    (TURBO, {"infer_method": "sde"}), (TURBO, {"caption": "drums"}), (TURBO, {"lyrics": "la"}),
    (TURBO, {"instrumental": True}), (TURBO, {"vocal_language": "de"}), (TURBO, {"bpm": 90}),
    (TURBO, {"key_scale": "A minor"}), (TURBO, {"time_signature": "3"}), (TURBO, {"instruction": "Sing:"}),
    (TURBO, {"codes": [[1, 2, 3] * 17]}), (TURBO, {"reference_audio": SOURCE}),
    (BASE, {"guidance_scale": 4.0}), (BASE, {"guidance_scale": 1.0}), (BASE, {"use_adg": True}),
    (BASE, {"cfg_interval": [0.8, 1.0]}), (BASE, {"shift": 2.2}), (BASE, {"infer_method": "sde"}),
    (BASE, {"timesteps": [0.93, 0.31]}),
    ("cover", {"cover_strength": 0.5}), ("cover", {"cover_strength": 0.0}), ("cover", {"src_audio": -SOURCE[:, ::-1]}),
    ("repaint", {"repaint_start": 2.5}), ("repaint", {"repaint_end": 3.5}),
    (TURBO, {"model": BASE}), ("lego", {"tracks": ["vocals"]}), ("extract", {"tracks": ["vocals"]}),
    ("complete", {"tracks": ["drums", "bass"]}),
    (TURBO, {"sampler_mode": "heun"}), (BASE, {"sampler_mode": "heun"}),
    (TURBO, {"velocity_norm_threshold": 0.5}), (TURBO, {"velocity_ema_factor": 0.3}),
    (TURBO, {"dcw_enabled": True}), (BASE, {"dcw_enabled": True}), ("dcw", {"dcw_mode": "low"}),
    ("dcw", {"dcw_mode": "high"}), ("dcw", {"dcw_mode": "pix"}), ("dcw", {"dcw_scaler": 0.2}),
    ("dcw", {"dcw_high_scaler": 0.2}), (TURBO, {"latent_shift": 0.3}), (TURBO, {"latent_rescale": 0.8}),
    (TURBO, {"chunk_mask_mode": "auto"}), ("repaint", {"chunk_mask_mode": "ones"}),
    ("cover", {"cover_noise_strength": 0.5}), ("repaint", {"repaint_mode": "conservative"}),
    ("repaint", {"repaint_mode": "balanced"}), ("repaint", {"repaint_mode": "aggressive"}),
    ("stem", {"repaint_mode": "balanced"}), ("balanced", {"repaint_strength": 1.0}),
]
NOTHING = [
    (TURBO, {"guidance_scale": 15.0}), (TURBO, {"use_adg": True}), (TURBO, {"cfg_interval": [0.3, 0.4]}),
    (TURBO, {"shift": 2.8}), (TURBO, {"cover_strength": 0.2}), (TURBO, {"model": "acestep-v15-turbo"}),
    (TURBO, {"repaint_start": 3.0}), (TURBO, {"tracks": ["drums"]}), (TURBO, {"instruction": ""}),
    (TURBO, {"reference_audio": np.zeros((2, 48_000), np.float32)}),
    (BASE, {"cfg_interval": [0.0, 1.0]}),
    ("cover", {"cover_strength": 1.0}), ("cover", {"repaint_start": 1.0}), ("repaint", {"cover_strength": 0.1}),
    (TURBO, {"dcw_mode": "low", "dcw_scaler": 0.5, "dcw_high_scaler": 0.5}), (TURBO, {"dcw_wavelet": "haar"}),
    (TURBO, {"repaint_mode": "balanced", "repaint_strength": 1.0}), (TURBO, {"cover_noise_strength": 0.5}),
    (TURBO, {"chunk_mask_mode": "ones"}), (TURBO, {"global_caption": "a slow song"}),
    (TURBO, {"fallback_duration": 120.0}), ("low", {"dcw_high_scaler": 0.9}), ("sde", {"sampler_mode": "heun"}),
    ("repaint", {"repaint_strength": 1.0}), ("lego", {"repaint_mode": "balanced"}),
]


def name(value: Any) -> str:
    return value if isinstance(value, str) else "-".join(value)


@pytest.fixture(scope="module")
async def plain(stack):
    return {name: (await sing(stack.triton_grpc, **asked)).audio() for name, asked in PLAIN.items()}


@pytest.mark.parametrize(("base", "change"), CHANGES, ids=name)
async def test_it_changes_the_song(stack, plain, base, change):
    if "src_audio" in change:
        change = {"src_audio": np.ascontiguousarray(change["src_audio"])}
    audio = (await sing(stack.triton_grpc, **PLAIN[base] | change)).audio()
    assert audio.tobytes() != plain[base].tobytes()
    n = min(audio.shape[1], plain[base].shape[1])
    assert np.abs(audio[:, :n] - plain[base][:, :n]).max() > 1e-4 * np.abs(plain[base]).max()


@pytest.mark.parametrize(("base", "change"), NOTHING, ids=name)
async def test_it_leaves_the_bytes_alone(stack, plain, base, change):
    assert (await sing(stack.triton_grpc, **PLAIN[base] | change)).audio().tobytes() == plain[base].tobytes()


async def test_without_a_length_from_anyone_a_song_has_the_fallbacks(stack):
    asked = {name: value for name, value in PLAIN[TURBO].items() if name != "duration"} | {"steps": 1}
    assert (await sing(stack.triton_grpc, **asked, fallback_duration=12.0)).audio().shape == (2, 12 * 48_000)
    assert (await sing(stack.triton_grpc, **asked)).audio().shape == (2, 30 * 48_000)


async def test_own_timesteps_win_over_steps_and_shift(stack):
    own = PLAIN[TURBO] | {"timesteps": [1.0, 0.5]}
    first = await sing(stack.triton_grpc, **own)
    second = await sing(stack.triton_grpc, **own | {"steps": 7, "shift": 1})
    assert first.done["schedule"] == second.done["schedule"] == [1.0, 0.5]
    assert first.audio().tobytes() == second.audio().tobytes()
