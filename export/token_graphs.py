"""The audio tokenizer and its inverse for export: 25 Hz latents to 5 Hz codes (FSQ), and codes to latents."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from .attention import EncoderStack
from .checkpoint import Parts
from .errors import ExportError
from .graph import BATCH, Case, Graph

CODES = torch.export.Dim("code_count", min=1, max=4096)
# Rounding to a level is a step: nearer to it than this, in units of one level, PyTorch's own rounding errors decide.
BORDER = 1e-4


class Tokenizer(nn.Module):
    """diffusers' AceStepAudioTokenizer from latents to indices, with attention that exports."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self.source = tokenizer
        self.pooler = EncoderStack(tokenizer.attention_pooler)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        _, indices = self.source.quantizer(self.pooled(latents))
        return torch.as_tensor(indices.squeeze(-1))

    def pooled(self, latents: torch.Tensor) -> torch.Tensor:
        """latents [B, 5n, 64] -> one vector per window of five frames [B, n, H], before it is quantised."""
        window = self.source.pool_window_size
        batch, _, channels = latents.shape
        frames = self.source.audio_acoustic_proj(latents.reshape(batch, -1, window, channels))
        frames = self.pooler.source.embed_tokens(frames)
        count = frames.shape[1]
        special = self.pooler.source.special_token.expand(batch, count, -1, -1)
        windows = torch.cat([special, frames], dim=2).flatten(0, 1)
        return self.pooler.layers(windows, everywhere())[:, 0].reshape(batch, count, -1)


class Detokenizer(nn.Module):
    """The quantiser's codebook and diffusers' AceStepAudioTokenDetokenizer in one."""

    def __init__(self, quantizer: Any, detokenizer: Any) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.stack = EncoderStack(detokenizer)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        source = self.stack.source
        x = source.embed_tokens(self.quantizer.get_output_from_indices(codes))
        batch, count, _ = x.shape
        windows = (x[:, :, None] + source.special_tokens).flatten(0, 1)
        latents = source.proj_out(self.stack.layers(windows, everywhere()))
        return torch.as_tensor(latents.reshape(batch, count * source.pool_window_size, -1))


def everywhere() -> torch.Tensor:
    """The mask of windows: every frame is there."""
    return torch.ones(1, 1, 1, 1, dtype=torch.bool)


def tokenizer(parts: Parts) -> Graph:
    """latents [B, 5n, 64] -> codes [B, n]."""
    _check(parts)
    window = parts.audio_tokenizer.pool_window_size
    return Graph(
        module=Tokenizer(parts.audio_tokenizer).eval(),
        example={"latents": _latents(parts, 2, 3)},
        outputs=("codes",),
        axes={"latents": {0: BATCH, 1: window * CODES}},
        oracle=parts.audio_tokenizer,
        cases=lambda dtype: _tokenizer_cases(parts, dtype),
    )


def detokenizer(parts: Parts) -> Graph:
    """codes [B, n] -> latents [B, 5n, 64]."""
    _check(parts)
    return Graph(
        module=Detokenizer(parts.audio_tokenizer.quantizer, parts.audio_token_detokenizer).eval(),
        example={"codes": _codes(parts, 2, 3)},
        outputs=("latents",),
        axes={"codes": {0: BATCH, 1: CODES}},
        oracle=nn.ModuleList([parts.audio_tokenizer, parts.audio_token_detokenizer]),
        cases=lambda dtype: _detokenizer_cases(parts),
    )


def _check(parts: Parts) -> None:
    if parts.audio_tokenizer.quantizer.num_quantizers != 1:
        raise ExportError(f"{parts.config.folder / 'config.json'}: only fsq_input_num_quantizers 1 is known here")


def _latents(parts: Parts, batch: int, codes: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(1000 * batch + codes)
    frames = codes * parts.audio_tokenizer.pool_window_size
    return torch.randn(batch, frames, parts.config.channels, generator=random)


def _codes(parts: Parts, batch: int, codes: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(1000 * batch + codes)
    return torch.randint(0, parts.audio_tokenizer.quantizer.codebook_size, (batch, codes), generator=random)


def _tokenizer_cases(parts: Parts, dtype: torch.dtype) -> Iterator[Case]:
    for batch, count in ((1, 1), (1, 151), (3, 30)):
        latents = _latents(parts, batch, count)
        # Silence as the last window, as the pipeline fills it.
        latents[:, -2:] = parts.condition_encoder.silence_latent[:, :2]
        _, codes = parts.audio_tokenizer.tokenize(latents.to(dtype))
        clear = border_distance(parts.audio_tokenizer, latents.to(dtype)) > BORDER
        yield Case(f"{batch} × {count} codes", {"latents": latents}, {"codes": codes.squeeze(-1)}, {"codes": clear})


def border_distance(tokenizer: Any, latents: torch.Tensor) -> torch.Tensor:
    """How far each code [B, n] is from becoming another one, in units of one level; latents [B, 5n, 64]."""
    quantizer = tokenizer.quantizer
    batch, frames, channels = latents.shape
    windows = latents.reshape(batch, frames // tokenizer.pool_window_size, -1, channels)
    values = quantizer.project_in(tokenizer.attention_pooler(tokenizer.audio_acoustic_proj(windows)))
    steps = quantizer._levels.float() - 1
    bounded = (values / (1 + 1 / steps)).tanh() * (1 + 1 / steps)
    place = steps * (bounded.clamp(-1, 1) + 1) / 2 + 0.5
    distance: torch.Tensor = (place - place.round()).abs().amin(dim=-1)
    return distance


def _detokenizer_cases(parts: Parts) -> Iterator[Case]:
    last = parts.audio_tokenizer.quantizer.codebook_size - 1
    for batch, count in ((1, 1), (1, 151), (3, 30)):
        codes = _codes(parts, batch, count)
        codes[0, 0], codes[-1, -1] = 0, last
        hidden = parts.audio_tokenizer.quantizer.get_output_from_indices(codes)
        latents = parts.audio_token_detokenizer(hidden)
        yield Case(f"{batch} × {count} codes", {"codes": codes}, {"latents": latents})
