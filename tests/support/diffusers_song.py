"""The same small songs by diffusers' own ACE-Step pipeline: same weights, same noise."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AceStepPipeline
from diffusers.models.autoencoders.autoencoder_oobleck import OobleckDiagonalGaussianDistribution

from export.checkpoint import load_parts
from pipeline.noise import draw_normal
from tests.support.cases import SEED, Case

_REFERENCE_FRAMES = 750


@cache
def pipeline_of(checkpoints: Path, model: str) -> AceStepPipeline:
    """diffusers' pipeline around a model's parts, made once."""
    made = AceStepPipeline(**load_parts(checkpoints, model).pipeline_arguments())
    made.set_progress_bar_config(disable=True)
    return made


def diffusers_latents(checkpoints: Path, case: Case, frames: int, steps: int, seconds: float) -> npt.NDArray[Any]:
    """The latents [frames, 64] of a case that diffusers can make, with this project's noise and posterior draws."""
    asked = case.asked()
    noise = torch.from_numpy(draw_normal(SEED, "latents", (1, frames, 64)))
    audio = {name: torch.from_numpy(sound) for name, sound in
             (("src_audio", case.audio()), ("reference_audio", case.reference_audio())) if sound is not None}
    arguments = {
        "prompt": asked["caption"], "lyrics": asked["lyrics"], "vocal_language": asked["vocal_language"],
        "audio_duration": seconds, "guidance_scale": 1.0, "shift": 3.0, "num_inference_steps": steps, **audio,
    } | (case.diffusers or {})
    with torch.inference_mode(), own_posterior():
        made: npt.NDArray[Any] = pipeline_of(checkpoints, case.model)(
            latents=noise, output_type="latent", **arguments).audios[0].numpy()
    return made


@contextmanager
def own_posterior() -> Iterator[None]:
    """Within it diffusers draws the VAE's posterior as this project does; by itself it takes PyTorch's generator."""

    def draw(self: Any, generator: object = None) -> torch.Tensor:
        _, channels, frames = self.mean.shape
        purpose = "vae reference" if frames == _REFERENCE_FRAMES else "vae"
        noise = np.ascontiguousarray(draw_normal(SEED, purpose, (frames, channels)).T)
        drawn: torch.Tensor = self.mean + self.std * torch.from_numpy(noise)[None]
        return drawn

    before = OobleckDiagonalGaussianDistribution.sample
    OobleckDiagonalGaussianDistribution.sample = draw
    try:
        yield
    finally:
        OobleckDiagonalGaussianDistribution.sample = before
