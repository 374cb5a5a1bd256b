"""Attention as the exported graphs compute it: diffusers' weights, masks for padding, one softmax."""

from typing import Any

import torch
from torch import nn

# Finite, so that a row without any key gives no NaN; far enough that such keys weigh nothing, also in fp16.
MASKED = -1e4


def additive(keep: torch.Tensor) -> torch.Tensor:
    """Boolean mask (True = attend) as numbers to add to the scores."""
    return torch.where(keep, 0.0, MASKED)


def band(length: int, window: int) -> torch.Tensor:
    """[length, length], True where two positions are at most `window` apart."""
    position = torch.arange(length)
    return (position[:, None] - position[None, :]).abs() <= window


class Rotary(nn.Module):
    """Rotary embedding of Qwen3's layout: cos and sin of [position, frequency], both halves alike."""

    frequencies: torch.Tensor

    def __init__(self, head_dim: int, theta: float) -> None:
        super().__init__()
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        self.register_buffer("frequencies", 1.0 / theta**exponents)

    def forward(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        angles = torch.arange(length, dtype=torch.float32)[:, None] * self.frequencies[None]
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()


def rotate(x: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """x [B, heads, length, head_dim] turned by the angles of its positions."""
    cos, sin = angles
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Attention(nn.Module):
    """An AceStepAttention with explicit masks; keys and values of grouped heads are expanded."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.source = attention

    def forward(
        self,
        x: torch.Tensor,
        context: torch.Tensor,
        mask: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """x [B, S, H], context [B, L, H], mask broadcast to [B, heads, S, L] -> [B, S, H]."""
        a = self.source
        query = a.norm_q(a.to_q(x).unflatten(-1, (a.heads, a.head_dim))).transpose(1, 2)
        key = a.norm_k(a.to_k(context).unflatten(-1, (a.kv_heads, a.head_dim))).transpose(1, 2)
        value = a.to_v(context).unflatten(-1, (a.kv_heads, a.head_dim)).transpose(1, 2)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        key, value = self._expand(key), self._expand(value)
        scores = (query * a.scaling) @ key.transpose(2, 3) + mask
        mixed = torch.softmax(scores, dim=-1) @ value
        projected: torch.Tensor = a.to_out[0](mixed.transpose(1, 2).flatten(2, 3))
        return projected

    def _expand(self, x: torch.Tensor) -> torch.Tensor:
        groups = self.source.heads // self.source.kv_heads
        return x.unsqueeze(2).expand(-1, -1, groups, -1, -1).flatten(1, 2)


class EncoderStack(nn.Module):
    """The layers of diffusers' small encoders, sliding-window and full attention in turn."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.source = encoder
        self.attentions = nn.ModuleList(Attention(layer.self_attn) for layer in encoder.layers)
        self.rotary = Rotary(encoder.head_dim, encoder.rope_theta)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """x [B, S, in], keep broadcast to [B, 1, S, S] -> [B, S, H]."""
        return self.layers(self.source.embed_tokens(x), keep)

    def layers(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """The same from embedded positions x [B, S, H]."""
        source = self.source
        length = x.shape[1]
        angles = self.rotary(length)
        full = additive(keep)
        sliding = additive(keep & band(length, source.sliding_window))
        for kind, layer, attention in zip(source._layer_types, source.layers, self.attentions, strict=False):
            normed = layer.input_layernorm(x)
            x = x + attention(normed, normed, sliding if kind == "sliding_attention" else full, angles)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        normed = source.norm(x)
        return torch.as_tensor(normed)
