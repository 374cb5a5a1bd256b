"""The seam to the Triton models: what a song calls, without saying how."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .tokens import TokenIds

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Condition:
    """What the DiT attends to: hidden states float32 [L, H], all of them valid."""

    hidden: Floats


@dataclass(frozen=True)
class DitCall:
    """The inputs of one DiT evaluation; B rows, T frames, L condition slots.

    hidden_states [B,T,64], timestep [B,1], encoder_hidden_states [B,L,H], encoder_mask [B,L],
    context_latents [B,T,128], latent_mask [B,T].
    """

    hidden_states: Floats
    timestep: Floats
    encoder_hidden_states: Floats
    encoder_mask: Mask
    context_latents: Floats
    latent_mask: Mask


class Models(Protocol):
    """The served graphs. Every method raises SongError: 503 when the model is away, 500 when it fails."""

    async def condition(self, dit: str, prompt: TokenIds, lyrics: TokenIds, timbre: Floats) -> Condition:
        """Encodes one song's texts and timbre latents [R, 64]."""

    async def velocity(self, dit: str, call: DitCall) -> Floats:
        """One DiT evaluation: velocity [B, T, 64]."""

    async def encode(self, audio: Floats) -> tuple[Floats, Floats]:
        """Audio [2, 1920·T] to the posterior's mean and standard deviation, each [T, 64]."""

    async def tokenize(self, dit: str, latents: Floats) -> Codes:
        """Latents [5·n, 64] to codes [n]."""

    async def detokenize(self, dit: str, codes: Codes) -> Floats:
        """Codes [n] to latents [5·n, 64]."""

    async def decode(self, latents: Floats) -> Floats:
        """Latents [T, 64] to audio [2, 1920·T]."""
