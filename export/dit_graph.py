"""The DiT for export: songs of different length, prompt and timestep in one batch, each as if it were alone."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from .attention import Attention, Rotary, additive, band
from .checkpoint import Parts
from .graph import BATCH, Case, Graph

HALF_FRAMES = torch.export.Dim("half_frames", min=1, max=16384)
CONDITION = torch.export.Dim("condition", min=2, max=16384)


class MaskedDit(nn.Module):
    """diffusers' AceStepTransformer1DModel with masks, an even number of frames, and Linear patchify layers.

    Frames and condition positions outside the masks may hold anything; the velocity of masked frames is 0. A Linear
    in place of the strided convolutions is the same sum, and exports without a branch on odd lengths.
    """

    time_frequencies: torch.Tensor
    time_embedding_r: torch.Tensor
    time_projection_r: torch.Tensor

    def __init__(self, dit: Any) -> None:
        super().__init__()
        self.source = dit
        self.patchify, self.depatchify = _linear_patchify(dit)
        self.self_attentions = nn.ModuleList(Attention(layer.self_attn) for layer in dit.layers)
        self.cross_attentions = nn.ModuleList(Attention(layer.cross_attn) for layer in dit.layers)
        self.rotary = Rotary(dit.head_dim, dit.rope_theta)
        # A constant, because exp() of another library moves the phase of t = 1000 by 4e-5.
        self.register_buffer("time_frequencies", _sinusoid_frequencies(dit.time_embed.in_channels))
        # The second timestep is always equal to the first: its network sees 0 and is a constant.
        embedding, projection = dit.time_embed_r(torch.zeros(1))
        self.register_buffer("time_embedding_r", embedding)
        self.register_buffer("time_projection_r", projection)

    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_mask: torch.Tensor,
        context_latents: torch.Tensor,
        latent_mask: torch.Tensor,
    ) -> torch.Tensor:
        dit = self.source
        embedding, projection = self._time(timestep)
        frames = latent_mask[:, :, None]
        # An odd length shares its last patch with one masked frame, which must be 0 as in the unpadded model.
        x = torch.where(frames, torch.cat([context_latents, hidden_states], dim=-1), 0.0)
        batch, _, channels = x.shape
        x = self.patchify(x.reshape(batch, -1, dit.patch_size * channels))
        context = dit.condition_embedder(torch.where(encoder_mask[:, :, None], encoder_hidden_states, 0.0))

        patches = x.shape[1]
        keep = latent_mask.reshape(batch, patches, dit.patch_size)[:, :, 0][:, None, None, :]
        full = additive(keep)
        sliding = additive(keep & band(patches, dit.config.sliding_window))
        cross = additive(encoder_mask)[:, None, None, :]
        angles = self.rotary(patches)

        for i, layer in enumerate(dit.layers):
            shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (layer.scale_shift_table + projection).chunk(6, dim=1)
            normed = layer.self_attn_norm(x) * (1 + scale) + shift
            mask = sliding if dit.layer_types[i] == "sliding_attention" else full
            x = x + self.self_attentions[i](normed, normed, mask, angles) * gate
            x = x + self.cross_attentions[i](layer.cross_attn_norm(x), context, cross)
            x = x + layer.mlp(layer.mlp_norm(x) * (1 + mlp_scale) + mlp_shift) * mlp_gate

        shift, scale = (dit.scale_shift_table + embedding[:, None, :]).chunk(2, dim=1)
        velocity = self.depatchify(dit.norm_out(x) * (1 + scale) + shift)
        return torch.where(frames, velocity.reshape(batch, patches * dit.patch_size, -1), 0.0)

    def _time(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Every row twice: ONNX Runtime has kernels of their own, with other rounding, for products with a single row
        # (x86: where the weights are not packed beforehand). A song alone must give the same bits as among others.
        time = self.source.time_embed
        angles = timestep.expand(-1, 2).reshape(-1, 1) * time.scale * self.time_frequencies
        embedding = time.linear_2(time.act1(time.linear_1(torch.cat([angles.cos(), angles.sin()], dim=-1))))
        projection = time.time_proj(time.act2(embedding)).unflatten(1, (6, -1))
        embedding = embedding.unflatten(0, (-1, 2))[:, 0]
        projection = projection.unflatten(0, (-1, 2))[:, 0]
        return embedding + self.time_embedding_r, projection + self.time_projection_r


def _sinusoid_frequencies(channels: int) -> torch.Tensor:
    """Frequencies of the timestep embedding, exactly as diffusers' Timesteps computes them."""
    half = channels // 2
    return torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32) / half)


def _linear_patchify(dit: Any) -> tuple[nn.Linear, nn.Linear]:
    weight = dit.proj_in_conv.weight  # convolution: [width, channels, patch]
    width, channels, patch = weight.shape
    patchify = nn.Linear(patch * channels, width)
    patchify.weight.data = weight.permute(0, 2, 1).reshape(width, patch * channels).contiguous()
    patchify.bias.data = dit.proj_in_conv.bias.clone()

    weight = dit.proj_out_conv.weight  # transposed convolution: [width, channels, patch]
    width, channels, patch = weight.shape
    depatchify = nn.Linear(width, patch * channels)
    depatchify.weight.data = weight.permute(2, 1, 0).reshape(patch * channels, width).contiguous()
    depatchify.bias.data = dit.proj_out_conv.bias.repeat(patch)
    return patchify.requires_grad_(False), depatchify.requires_grad_(False)


def graph(parts: Parts) -> Graph:
    """hidden_states [B, T, 64] and its conditions -> velocity [B, T, 64]; T even."""
    frames = {0: BATCH, 1: parts.config.patch_size * HALF_FRAMES}
    positions = {0: BATCH, 1: CONDITION}
    return Graph(
        module=MaskedDit(parts.transformer).eval(),
        example=_batch(parts, [(10, 7, 0.9), (7, 5, 0.3)], pad=2)[0],
        outputs=("velocity",),
        axes={
            "hidden_states": frames,
            "timestep": {0: BATCH},
            "encoder_hidden_states": positions,
            "encoder_mask": positions,
            "context_latents": frames,
            "latent_mask": frames,
        },
        oracle=parts.transformer,
        cases=lambda dtype: _cases(parts, dtype),
    )


Song = tuple[int, int, float]
"""Frames, condition positions, timestep."""


Batch = tuple[dict[str, torch.Tensor], torch.Tensor]


def _batch(
    parts: Parts, songs: list[Song], pad: int, filler: float = 0.0, dtype: torch.dtype = torch.float32
) -> Batch:
    """Inputs of one call, and diffusers' velocities of each song by itself, with zeros at padded frames."""
    random = torch.Generator().manual_seed(len(songs) * 1000 + pad)
    dit, batch = parts.transformer, len(songs)
    even = parts.config.patch_size
    frames = -(-(max(song[0] for song in songs) + pad) // even) * even
    positions = max(song[1] for song in songs) + pad
    channels, width = parts.config.channels, parts.config.condition_width

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    inputs = {
        "hidden_states": normal(batch, frames, channels) * filler,
        "timestep": torch.tensor([[song[2]] for song in songs]),
        "encoder_hidden_states": normal(batch, positions, width) * filler,
        "encoder_mask": torch.zeros(batch, positions, dtype=torch.bool),
        "context_latents": normal(batch, frames, 2 * channels) * filler,
        "latent_mask": torch.zeros(batch, frames, dtype=torch.bool),
    }
    expected = torch.zeros(batch, frames, channels, dtype=dtype)
    for row, (length, condition, t) in enumerate(songs):
        alone = {
            "hidden_states": normal(1, length, channels),
            "encoder_hidden_states": normal(1, condition, width),
            "context_latents": normal(1, length, 2 * channels),
        }
        for name, value in alone.items():
            inputs[name][row, : value.shape[1]] = value[0]
        inputs["encoder_mask"][row, :condition] = True
        inputs["latent_mask"][row, :length] = True
        at = torch.tensor([t]).to(dtype)
        given = {name: value.to(dtype) for name, value in alone.items()}
        expected[row, :length] = dit(timestep=at, timestep_r=at, return_dict=False, **given)[0][0]
    return inputs, expected


def _cases(parts: Parts, dtype: torch.dtype) -> Iterator[Case]:
    five: list[Song] = [(51, 7, 1.0), (250, 33, 0.75), (33, 90, 0.3), (2, 2, 0.9), (377, 128, 0.1)]
    batches: list[tuple[str, list[Song], int, float]] = [
        ("2 frames", [(2, 2, 1.0)], 0, 0.0),
        ("51 frames", [(51, 33, 0.75)], 0, 0.0),
        ("250 frames, 6 more of garbage", [(250, 90, 0.5)], 6, 5.0),
        ("51, 250, 33, 2 and 377 frames in one call, the rest garbage", five, 7, 5.0),
    ]
    for label, songs, pad, filler in batches:
        inputs, expected = _batch(parts, songs, pad, filler, dtype)
        yield Case(label, inputs, {"velocity": expected})
