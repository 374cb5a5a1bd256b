"""The VAE for export: latents in the pipeline's layout, weight norm folded into the weights."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_oobleck import Snake1d
from torch import nn
from torch.nn.utils import remove_weight_norm

from .graph import BATCH, Case, Graph

FRAMES = torch.export.Dim("frames", min=1, max=16384)


class Snake(nn.Module):
    """diffusers' Snake1d with its logarithmic parameters made plain: x + sin²(a·x) / b."""

    frequency: torch.Tensor
    amplitude: torch.Tensor

    def __init__(self, snake: Any) -> None:
        super().__init__()
        self.register_buffer("frequency", snake.alpha.exp())
        self.register_buffer("amplitude", (snake.beta.exp() + 1e-9).reciprocal())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wave = torch.sin(self.frequency * x)
        return x + self.amplitude * (wave * wave)


class Decoder(nn.Module):
    """OobleckDecoder on [B, T, 64] latents."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.source = _folded(copy.deepcopy(decoder))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.source(latents.transpose(1, 2)))


class Encoder(nn.Module):
    """OobleckEncoder up to the distribution: the caller draws from it, with a seed of its own."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.source = _folded(copy.deepcopy(encoder))

    def forward(self, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, scale = self.source(audio).transpose(1, 2).chunk(2, dim=-1)
        return mean, nn.functional.softplus(scale) + 1e-4


def _folded(module: nn.Module) -> nn.Module:
    """The module with everything computed that depends on weights alone."""
    for name, layer in list(module.named_modules()):
        if hasattr(layer, "weight_g"):
            remove_weight_norm(layer)
        if isinstance(layer, Snake1d):
            module.set_submodule(name, Snake(layer))
    return module.requires_grad_(False)


def decoder(vae: Any) -> Graph:
    """latents [B, T, 64] -> audio [B, 2, 1920 T]."""
    channels = vae.config.decoder_input_channels
    return Graph(
        module=Decoder(vae.decoder).eval(),
        example={"latents": torch.randn(2, 12, channels, generator=torch.Generator().manual_seed(0))},
        outputs=("audio",),
        axes={"latents": {0: BATCH, 1: FRAMES}},
        oracle=vae.decoder,
        cases=lambda dtype: _decoder_cases(vae, channels, dtype),
    )


def encoder(vae: Any) -> Graph:
    """audio [B, 2, 1920 T] -> mean and standard deviation of its latents, each [B, T, 64]."""
    hop = math.prod(vae.config.downsampling_ratios)
    return Graph(
        module=Encoder(vae.encoder).eval(),
        example={"audio": _audio(vae, 2, 3 * hop)},
        outputs=("mean", "std"),
        axes={"audio": {0: BATCH, 2: hop * FRAMES}},
        oracle=vae.encoder,
        cases=lambda dtype: _encoder_cases(vae, hop, dtype),
    )


def _audio(vae: Any, batch: int, samples: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(samples + batch)
    return torch.randn(batch, vae.config.audio_channels, samples, generator=random)


def _encoder_cases(vae: Any, hop: int, dtype: torch.dtype) -> Iterator[Case]:
    for batch, frames, loudness in ((1, 1, 0.3), (1, 77, 0.3), (1, 20, 0.0), (3, 30, 1.0)):
        audio = loudness * _audio(vae, batch, frames * hop)
        latents = vae.encode(audio.to(dtype)).latent_dist
        expected = {"mean": latents.mean.transpose(1, 2), "std": latents.std.transpose(1, 2)}
        yield Case(f"{batch} × {frames} frames{'' if loudness else ' of silence'}", {"audio": audio}, expected)


def _decoder_cases(vae: Any, channels: int, dtype: torch.dtype) -> Iterator[Case]:
    for batch, frames in ((1, 1), (1, 77), (3, 30)):
        random = torch.Generator().manual_seed(frames)
        latents = torch.randn(batch, frames, channels, generator=random)
        audio = vae.decoder(latents.transpose(1, 2).to(dtype))
        yield Case(f"{batch} × {frames} frames", {"latents": latents}, {"audio": audio})
