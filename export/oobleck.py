"""The VAE's one departure from diffusers: an encoder whose width is not tied to the latent width."""

import warnings
from typing import Any

import torch
from torch import nn
from torch.nn.utils import weight_norm

ENCODER_WIDTH = "encoder_width"


def build(autoencoder: type[Any], config: dict[str, Any]) -> Any:
    """An AutoencoderOobleck for a vae/config.json.

    The stock encoder begins at `encoder_hidden_size` channels, which is also twice the latent width (128): 40 s of
    CPU per 30 s clip. Our extra key `encoder_width` sets the width of its layers alone, the output stays the same.
    """
    arguments = {key: value for key, value in config.items() if not key.startswith("_") and key != ENCODER_WIDTH}
    with torch.no_grad(), warnings.catch_warnings():  # with gradients, weight norm leaves tensors that no one can copy
        warnings.simplefilter("ignore", FutureWarning)  # diffusers uses PyTorch's older weight norm
        vae = autoencoder(**arguments)
        width = config.get(ENCODER_WIDTH)
        if width is not None:
            vae.encoder = _narrow_encoder(type(vae.encoder), arguments, int(width))
    return vae


def _narrow_encoder(encoder: type[Any], arguments: dict[str, Any], width: int) -> Any:
    multiples = list(arguments["channel_multiples"])
    narrow = encoder(
        encoder_hidden_size=width,
        audio_channels=arguments["audio_channels"],
        downsampling_ratios=arguments["downsampling_ratios"],
        channel_multiples=multiples,
    )
    latents = nn.Conv1d(width * multiples[-1], arguments["encoder_hidden_size"], kernel_size=3, padding=1)
    narrow.conv2 = weight_norm(latents)
    return narrow
