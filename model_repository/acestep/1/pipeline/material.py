"""What a song is made from besides its text: source latents and timbre, one set for each item."""

import asyncio
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from contract.tasks import TASKS

from .chunks import cut_chunks
from .errors import FAULT, SongError
from .facts import Served
from .length import HOP, LATENT_CHANNELS, padded
from .models import Codes, Floats, Models
from .noise import draw_normal
from .plan import Heard, SongPlan
from .region import region_mask
from .timbre import is_silent, timbre_windows

POOL = 5


@dataclass(frozen=True)
class Uploads:
    """Audio that came with a request, float32 [2, n] at 48 kHz."""

    source: Floats | None = None
    reference: Floats | None = None

    @cached_property
    def heard(self) -> Heard:
        """What planning needs to know of them. Reads all of their samples, once: not for an event loop."""
        return Heard(
            source=None if self.source is None else self.source.shape[1],
            source_is_silent=self.source is not None and is_silent(self.source),
            has_reference=self.reference is not None,
            reference_is_silent=self.reference is not None and is_silent(self.reference),
        )


@dataclass(frozen=True)
class Posterior:
    """What the VAE knows of a piece of audio: mean and standard deviation, each [T, 64]."""

    mean: Floats
    std: Floats

    def draw(self, seed: int, purpose: str) -> Floats:
        """Latents [T, 64] of this audio for a seed."""
        return self.mean + self.std * draw_normal(seed, purpose, self.mean.shape)


@dataclass(frozen=True)
class Followed:
    """What an item follows: its `latents` float32 [visible, 64] as heard, and the DiT's `context` [visible, 128]."""

    latents: Floats
    context: Floats


class Listener:
    """Turns uploads into posteriors, and those into what an item follows and its timbre."""

    def __init__(self, plan: SongPlan, models: Models, served: Served) -> None:
        self._plan = plan
        self._models = models
        self._served = served
        self._source: Posterior | None = None
        self._reference: Posterior | None = None

    async def listen(self, uploads: Uploads) -> None:
        """Encodes the uploads that the plan uses."""
        plan = self._plan
        if plan.canvas is not None and plan.source_is_silent:
            latents = silence(plan.dit.silence, plan.length.frames)
            self._source = Posterior(latents, np.zeros_like(latents))
        elif plan.canvas is not None and uploads.source is not None:
            self._source = await self._encode(await asyncio.to_thread(plan.canvas.place, uploads.source))
        if plan.uses_reference and uploads.reference is not None:
            self._reference = await self._encode(await asyncio.to_thread(timbre_windows, uploads.reference))

    async def timbre(self, seed: int) -> Floats:
        """Timbre latents [750, 64]: of the reference, else of silence."""
        if self._reference is None:
            return self._plan.dit.silence[: self._plan.dit.timbre_frames]
        return await asyncio.to_thread(self._reference.draw, seed, "vae reference")

    async def follow(self, item: int) -> Followed:
        """What an item follows: the source as its seed hears it, its codes, or silence."""
        plan = self._plan
        latents = await self._latents(item)
        heard = latents
        if self._source is not None and plan.canvas is not None and TASKS[plan.task].is_tokenized:
            heard = await self._hints(await self._tokenize(latents))
        return Followed(latents, await asyncio.to_thread(self._context, heard))

    async def _latents(self, item: int) -> Floats:
        plan = self._plan
        if plan.codes is not None:
            return await self._hints(np.array(plan.codes[min(item, len(plan.codes) - 1)], np.int64))
        return await asyncio.to_thread(self._heard, item)

    def _heard(self, item: int) -> Floats:
        """The source's latents [visible, 64] as the item's seed hears it; silence without one."""
        plan = self._plan
        if self._source is None:
            return silence(plan.dit.silence, plan.length.visible)
        return self._fill(self._source.draw(plan.seeds[item], "vae"))

    def _context(self, latents: Floats) -> Floats:
        """The context [visible, 128] of what is heard, with the plan's mask, else the task's own."""
        plan = self._plan
        if self._source is None or plan.canvas is None or not TASKS[plan.task].has_region:
            context = with_mask(latents)
        else:
            mask = region_mask(plan.canvas)
            if plan.task == "repaint":
                latents = np.where(mask > 0, silence(plan.dit.silence, plan.length.visible), latents)
            context = np.concatenate([latents, mask], axis=1)
        if plan.mask_value is not None:
            context[:, LATENT_CHANNELS:] = plan.mask_value
        return context

    async def codes(self) -> Codes:
        """The audio codes of the source, as the first seed hears it."""
        assert self._source is not None
        return await self._tokenize(await asyncio.to_thread(self._source.draw, self._plan.seeds[0], "vae"))

    async def _tokenize(self, latents: Floats) -> Codes:
        """Codes of latents, the last of them filled with silence."""
        tail = self._plan.dit.silence[: padded(len(latents), POOL) - len(latents)]
        return await self._models.tokenize(self._plan.dit.name, np.concatenate([latents, tail]))

    async def _hints(self, codes: Codes) -> Floats:
        """Source latents [visible, 64] of codes; what they do not reach is silence."""
        latents = await self._models.detokenize(self._plan.dit.name, codes)
        return await asyncio.to_thread(self._fill, latents[: self._plan.length.visible])

    def _fill(self, latents: Floats) -> Floats:
        """Latents with silence after their end, as long as the DiT sees."""
        missing = self._plan.length.visible - len(latents)
        return np.concatenate([latents, silence(self._plan.dit.silence, missing)]) if missing > 0 else latents

    async def _encode(self, audio: Floats) -> Posterior:
        """The posterior of audio [2, 1920·T], chunk by chunk with the overlap that makes it exact."""
        means, stds = [], []
        for chunk in cut_chunks(audio.shape[1] // HOP, self._served.encoder_overlap_frames):
            mean, std = await self._models.encode(audio[:, chunk.begin * HOP : chunk.end * HOP])
            kept = slice(chunk.first - chunk.begin, chunk.last - chunk.begin)
            if not np.isfinite(mean[kept]).all():
                raise SongError(FAULT, "model vae_encoder returned values that are no numbers")
            means.append(mean[kept].copy())
            stds.append(std[kept].copy())
        audio_held = [audio]
        del audio

        def join() -> Posterior:
            audio_held.clear()  # here, because to give 230 MB back to the system takes 25 ms
            return Posterior(np.concatenate(means), np.concatenate(stds))

        return await asyncio.to_thread(join)


def silence(latent: Floats, frames: int) -> Floats:
    """That many frames of silence, repeated past the 600 s that a checkpoint holds."""
    return np.tile(latent, (-(-frames // len(latent)), 1))[:frames]


def with_mask(latents: Floats) -> Floats:
    """Context [frames, 128] of source latents, every frame made anew."""
    return np.concatenate([latents, np.ones((len(latents), LATENT_CHANNELS), np.float32)], axis=1)

