"""The timbre encoder of upstream's XL models, which diffusers 0.42 lacks: a learned token stands before the frames."""

from typing import Any

import torch
from diffusers.pipelines.ace_step.modeling_ace_step import (
    AceStepTimbreEncoder,
    _ace_step_rotary_freqs,
    _create_4d_mask,
)


class TokenTimbreEncoder(AceStepTimbreEncoder):  # type: ignore[misc]
    """diffusers' AceStepTimbreEncoder with `special_token` at position 0, whose output is the timbre.

    The token stands after `embed_tokens`, so that 750 frames make 751 positions (AceStepTimbreEncoder of upstream's
    acestep/models/xl_base/modeling_acestep_v15_xl_base.py; the other models have that line commented out).
    """

    def forward(self, latents: torch.Tensor, order: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reference latents [N, R, 64] and the song of each -> timbres [B, most references of a song, H], mask."""
        token = self.special_token.expand(latents.shape[0], -1, -1)
        x = torch.cat([token, self.embed_tokens(latents)], dim=1)
        length = x.shape[1]
        angles = _ace_step_rotary_freqs(length, self.head_dim, self.rope_theta, x.device, x.dtype)
        near = _create_4d_mask(
            seq_len=length,
            dtype=x.dtype,
            device=x.device,
            sliding_window=self.sliding_window,
            is_sliding_window=True,
            is_causal=False,
        )
        for kind, layer in zip(self._layer_types, self.layers, strict=True):
            x = layer(x, position_embeddings=angles, attention_mask=near if kind == "sliding_attention" else None)
        timbres, mask = self.unpack_timbre_embeddings(self.norm(x)[:, 0], order)
        return timbres, mask


def prepend(condition_encoder: Any) -> None:
    """Replaces the timbre encoder of diffusers' condition encoder, before its weights are loaded, by an XL model's."""
    condition_encoder.timbre_encoder = TokenTimbreEncoder.from_config(condition_encoder.timbre_encoder.config)
