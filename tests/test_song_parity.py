"""A song's latents and audio equal the reference pipeline's: PyTorch, same weights, same noise."""

from itertools import product
from pathlib import Path

import pytest
import torch
from diffusers import AceStepPipeline

from export.checkpoint import load_parts
from pipeline.noise import draw_normal
from tests.pipeline_client import sing
from tests.support.comparison import relative_error

MODEL = "acestep-tiny-turbo"
SEED = 20_260_120
SONGS = [
    {"caption": "soft piano ballad, warm strings", "lyrics": "[verse]\nSoft notes in the morning light\n[chorus]\nStay",
     "bpm": 120, "key_scale": "C major", "time_signature": "4", "vocal_language": "en"},
    {"caption": "夜晚的城市，电子流行", "lyrics": "[Verse]\n月亮照在窗前 🌙\n我在想你\n\n[Chorus]\n啊 🎵🎶",
     "vocal_language": "zh"},
    {"caption": "duel of a cello and a drum machine 🥁🔥",
     "lyrics": "[Intro]\n\n[Verse 1]\nÜber allen Gipfeln\nist Ruh’", "bpm": 70,
     "time_signature": "3", "vocal_language": "de"},
]
CASES = list(product(range(3), (10, 30, 61.3), (1, 3)))
# Each song and shift once, up to half a minute; all combinations are among the long counts.
QUICK = {(0, 10, 3), (1, 10, 1), (2, 30, 3)}


@pytest.fixture(scope="module")
def reference() -> AceStepPipeline:
    parts = load_parts(Path("build/checkpoints/tiny"), MODEL)
    pipeline = AceStepPipeline(**parts.pipeline_arguments())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(
    ("song", "seconds", "shift"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES],
)
async def test_parity(stack, reference, song, seconds, shift):
    asked = SONGS[song]
    ours = await sing(
        stack.triton_grpc, model=MODEL, duration=seconds, shift=shift, steps=8, seeds=[SEED], **{"return": ["latents"]},
        **asked)
    frames = ours.latents[0].shape[0]
    noise = torch.from_numpy(draw_normal(SEED, "latents", (1, frames, 64)))
    with torch.inference_mode():
        latents = reference(
            prompt=asked["caption"], lyrics=asked["lyrics"], vocal_language=asked["vocal_language"],
            bpm=asked.get("bpm"), keyscale=asked.get("key_scale"), timesignature=asked.get("time_signature"),
            audio_duration=float(seconds), num_inference_steps=8, shift=float(shift), latents=noise,
            output_type="latent",
        ).audios
        audio = reference.vae.decode(latents.transpose(1, 2)).sample
    samples = round(48_000 * seconds)
    assert relative_error(ours.latents[0], latents[0].numpy()) < 1e-4
    assert ours.audio().shape == (2, samples)
    assert relative_error(ours.audio(), audio[0, :, :samples].numpy()) < 1e-4
