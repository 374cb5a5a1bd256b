"""The condition encoder for export: text, lyrics and timbre packed into one sequence, one reference per song."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from .attention import EncoderStack
from .checkpoint import Parts
from .graph import BATCH, Case, Graph

TEXT = torch.export.Dim("text_tokens", min=1, max=4096)
LYRICS = torch.export.Dim("lyric_tokens", min=1, max=8192)
REFERENCE = torch.export.Dim("reference_frames", min=1, max=4096)


class PackedCondition(nn.Module):
    """diffusers' AceStepConditionEncoder for exactly one reference per song.

    Sorting by mask becomes counting: a position's place is the number of valid ones before it. prepends_token: the
    timbre encoder reads its learned token before the reference's frames, as in upstream's XL models.
    """

    def __init__(self, encoder: Any, prepends_token: bool) -> None:
        super().__init__()
        self.prepends_token = prepends_token
        self.source = encoder
        self.lyrics = EncoderStack(encoder.lyric_encoder)
        self.timbre = EncoderStack(encoder.timbre_encoder)

    def forward(
        self,
        text_hidden_states: torch.Tensor,
        text_mask: torch.Tensor,
        lyric_hidden_states: torch.Tensor,
        lyric_mask: torch.Tensor,
        refer_latents: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        text = self.source.text_projector(text_hidden_states)
        lyrics = self.lyrics(lyric_hidden_states, lyric_mask[:, None, None, :])
        everywhere = torch.ones(1, 1, 1, 1, dtype=torch.bool)
        timbre = self.timbre.layers(self._heard(refer_latents), everywhere)[:, :1]
        sequence = torch.cat([lyrics, timbre, text], dim=1)
        mask = torch.cat([lyric_mask, torch.ones_like(lyric_mask[:, :1]), text_mask], dim=1)
        return _valid_first(sequence, mask)

    def _heard(self, refer_latents: torch.Tensor) -> torch.Tensor:
        """Returns what the timbre encoder's layers read, [B, R or 1 + R, H]; the timbre is at position 0."""
        encoder = self.source.timbre_encoder
        frames: torch.Tensor = encoder.embed_tokens(refer_latents)
        if not self.prepends_token:
            return frames
        return torch.cat([encoder.special_token.expand(frames.shape[0], -1, -1), frames], dim=1)


def _valid_first(sequence: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """sequence [B, L, H] with its valid positions moved to the front in order, and the mask that fits."""
    ones = mask.to(torch.int64)
    count = ones.sum(dim=1, keepdim=True)
    target = torch.where(mask, ones.cumsum(1) - 1, count + (1 - ones).cumsum(1) - 1)
    position = torch.arange(sequence.shape[1])[None]
    origin = torch.zeros_like(target).scatter(1, target, position.expand_as(target))
    packed = torch.gather(sequence, 1, origin[:, :, None].expand(-1, -1, sequence.shape[2]))
    return packed, position < count


def graph(parts: Parts) -> Graph:
    """Hidden states of text [B, Lt, D] and lyrics [B, Ll, D], reference latents [B, R, 64] -> [B, Lt+Ll+1, H]."""
    text, lyrics = {0: BATCH, 1: TEXT}, {0: BATCH, 1: LYRICS}
    return Graph(
        module=PackedCondition(parts.condition_encoder, parts.config.prepends_timbre_token).eval(),
        example=_inputs(parts, [(7, 5), (4, 9)], reference=20, pad=2),
        outputs=("encoder_hidden_states", "encoder_mask"),
        axes={
            "text_hidden_states": text,
            "text_mask": text,
            "lyric_hidden_states": lyrics,
            "lyric_mask": lyrics,
            "refer_latents": {0: BATCH, 1: REFERENCE},
        },
        oracle=parts.condition_encoder,
        cases=lambda dtype: _cases(parts, dtype),
    )


def _inputs(parts: Parts, songs: list[tuple[int, int]], reference: int, pad: int) -> dict[str, torch.Tensor]:
    """songs: number of text and of lyric tokens of each."""
    random = torch.Generator().manual_seed(len(songs) * 1000 + reference)
    width = int(parts.config.required("text_hidden_dim"))
    text = max(song[0] for song in songs) + pad
    lyrics = max(song[1] for song in songs) + pad
    batch = len(songs)
    return {
        "text_hidden_states": torch.randn(batch, text, width, generator=random),
        "text_mask": torch.arange(text)[None] < torch.tensor([song[0] for song in songs])[:, None],
        "lyric_hidden_states": torch.randn(batch, lyrics, width, generator=random),
        "lyric_mask": torch.arange(lyrics)[None] < torch.tensor([song[1] for song in songs])[:, None],
        "refer_latents": torch.randn(batch, reference, parts.config.channels, generator=random),
    }


def _cases(parts: Parts, dtype: torch.dtype) -> Iterator[Case]:
    reference = parts.config.timbre_frames
    songs = {
        "40 prompt and 60 lyric tokens": [(40, 60)],
        "1 prompt and 1 lyric token": [(1, 1)],
        "33 + 7, 12 + 250 and 80 + 41 tokens in one call, padded": [(33, 7), (12, 250), (80, 41)],
    }
    for label, lengths in songs.items():
        inputs = _inputs(parts, lengths, reference, pad=3 * (len(lengths) - 1))
        packed, mask = parts.condition_encoder(
            text_hidden_states=inputs["text_hidden_states"].to(dtype),
            text_attention_mask=inputs["text_mask"],
            lyric_hidden_states=inputs["lyric_hidden_states"].to(dtype),
            lyric_attention_mask=inputs["lyric_mask"],
            refer_audio_acoustic_hidden_states_packed=inputs["refer_latents"].to(dtype),
            refer_audio_order_mask=torch.arange(len(lengths)),
        )
        expected = {"encoder_hidden_states": packed, "encoder_mask": mask}
        yield Case(label, inputs, expected, {"encoder_hidden_states": mask[:, :, None]})
