"""Every task's latents equal the reference pipeline's: PyTorch, same weights, same noise.

Where the reference draws from a global generator (the VAE's posterior) or tests 1 − t where upstream tests t, the
reference is given what this project draws and tests; both rules are written down in the pipeline's docstrings.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.noise import draw_normal
from tests.pipeline_client import sing
from tests.support.cases import BASE, SEED, TEXT, TURBO, tune
from tests.support.diffusers_song import own_posterior, pipeline_of

CHECKPOINTS = Path("build/checkpoints/tiny")
CODES = [(i * 7_919) % 64_000 for i in range(53)]
SOURCE, REFERENCE = tune(10), tune(41, seed=1)
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "base, APG": (BASE, {"steps": 20, "guidance_scale": 7.0, "duration": 10}, {"guidance_scale": 7.0}),
    "base, APG in an interval": (
        BASE, {"steps": 12, "guidance_scale": 5.0, "cfg_interval": [0.2, 0.6], "duration": 10, "shift": 2.5},
        {"guidance_scale": 5.0, "cfg_interval_start": 0.4, "cfg_interval_end": 0.8, "shift": 2.5}),
    "base, own timesteps": (
        BASE, {"timesteps": [0.97, 0.7, 0.44, 0.1], "guidance_scale": 3.0, "duration": 10},
        {"timesteps": [0.97, 0.7, 0.44, 0.1], "guidance_scale": 3.0}),
    "repaint": (
        TURBO, {"task": "repaint", "src_audio": SOURCE, "repaint_start": 2.5, "repaint_end": 6.02},
        {"task_type": "repaint", "repainting_start": 2.5, "repainting_end": 6.02}),
    "cover": (TURBO, {"task": "cover", "src_audio": SOURCE}, {"task_type": "cover"}),
    "extract": (
        BASE, {"task": "extract", "src_audio": SOURCE, "tracks": ["vocals"], "steps": 6, "guidance_scale": 4.0},
        {"task_type": "extract", "track_name": "vocals", "guidance_scale": 4.0}),
    "complete": (
        BASE, {"task": "complete", "src_audio": SOURCE, "tracks": ["bass", "drums"], "steps": 6, "guidance_scale": 4.0},
        {"task_type": "complete", "complete_track_classes": ["bass", "drums"], "guidance_scale": 4.0}),
    "lego": (
        BASE, {"task": "lego", "src_audio": SOURCE, "steps": 6, "guidance_scale": 4.0, "repaint_start": 3,
               "repaint_end": 8},
        {"task_type": "lego", "guidance_scale": 4.0, "repainting_start": 3.0, "repainting_end": 8.0}),
    "audio codes": (
        TURBO, {"codes": [CODES]}, {"audio_codes": "".join(f"<|audio_code_{code}|>" for code in CODES)}),
    "reference audio": (TURBO, {"duration": 10, "reference_audio": REFERENCE}, {}),
}


@pytest.mark.parametrize("case", CASES)
async def test_parity(stack, case):
    model, asked, changes = CASES[case]
    ours = await sing(stack.triton_grpc, model=model, seeds=[SEED], **{"return": ["latents"]}, **TEXT | asked)
    schedule, frames = ours.done["schedule"], len(ours.latents[0])
    theirs = reference_arguments(asked, ours.done["duration"]) | {"shift": 3.0} | changes
    if "timesteps" not in theirs:
        theirs["num_inference_steps"] = len(schedule)
    noise = torch.from_numpy(draw_normal(SEED, "latents", (1, frames, 64)))
    with torch.inference_mode(), own_posterior():
        latents = pipeline_of(CHECKPOINTS, model)(latents=noise, output_type="latent", **theirs).audios[0].numpy()
    assert latents.shape == ours.latents[0].shape
    assert np.abs(ours.latents[0] - latents).max() < 1e-4 * np.abs(latents).max()


def reference_arguments(asked: dict[str, Any], duration: float) -> dict[str, Any]:
    names = [name for name in ("src_audio", "reference_audio") if name in asked]
    audio: dict[str, Any] = {name: torch.from_numpy(asked[name]) for name in names}
    return {
        "prompt": TEXT["caption"], "lyrics": TEXT["lyrics"], "vocal_language": TEXT["vocal_language"],
        "audio_duration": float(duration), "guidance_scale": 1.0, **audio}
