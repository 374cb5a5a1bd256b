"""The way of one song: plan, condition, denoise, decode."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .chunks import Chunk, cut_chunks
from .denoiser import Denoiser, Track
from .errors import CANCELLED, SongError
from .events import Audio, Described, Done, Event, Latents, Progress
from .facts import Served
from .length import HOP, LATENT_CHANNELS, SongLength
from .models import Floats, Models
from .noise import draw_normal
from .plan import SongPlan


@dataclass(frozen=True)
class Studio:
    """What all songs share: the models, what is known of them, and a step loop for each DiT."""

    models: Models
    served: Served
    denoisers: Mapping[str, Denoiser]


@dataclass(frozen=True)
class Caller:
    """The other end of a song: takes its events in order, and may leave."""

    send: Callable[[Event], Awaitable[None]]
    report: Callable[[Progress], None]
    has_left: Callable[[], bool]

    def check(self) -> None:
        """Raises when the caller has left."""
        if self.has_left():
            raise SongError(CANCELLED, "the song was cancelled")


async def sing(plan: SongPlan, studio: Studio, caller: Caller) -> None:
    """Makes the song and sends its events, `Done` last. Errors: SongError, at the latest one step after its cause."""
    begin = time.perf_counter()
    await caller.send(Described(plan.metadata))
    tracks = await _condition(plan, studio, caller)
    conditioned = time.perf_counter()
    latents = await _denoise(plan, studio, tracks)
    if "latents" in plan.wanted:
        for item, finished in enumerate(latents):
            await caller.send(Latents(item, finished))
    denoised = time.perf_counter()
    peaks = await _decode(plan, studio, caller, latents)
    end = time.perf_counter()
    await caller.send(Done(
        model=plan.dit.name,
        seeds=plan.seeds,
        duration=plan.metadata.duration,
        schedule=plan.schedule,
        peaks=tuple(peaks),
        timings={"condition": conditioned - begin, "denoise": denoised - conditioned, "decode": end - denoised,
                 "total": end - begin},
        metadata=plan.metadata,
        notes=plan.notes,
    ))


async def _condition(plan: SongPlan, studio: Studio, caller: Caller) -> list[Track]:
    """One track for each item: its own noise, and the condition and context that the song's items share."""
    timbre = plan.dit.silence[: plan.dit.timbre_frames]
    condition = await studio.models.condition(plan.dit.name, plan.prompt, plan.lyrics, timbre)
    caller.check()
    caller.report(Progress("condition", 1, 1))
    context = context_of_silence(plan.dit.silence, plan.length)
    total = len(plan.seeds) * len(plan.schedule)
    steps = [0] * len(plan.seeds)

    def on_step(item: int, step: int) -> None:
        caller.check()
        steps[item] = step
        caller.report(Progress("denoise", sum(steps), total))

    shape = (plan.length.visible, LATENT_CHANNELS)
    noises = [await asyncio.to_thread(draw_normal, seed, "latents", shape) for seed in plan.seeds]
    return [
        Track(noise, context, condition, plan.schedule, lambda step, item=item: on_step(item, step))  # type: ignore[misc]
        for item, noise in enumerate(noises)
    ]


async def _denoise(plan: SongPlan, studio: Studio, tracks: list[Track]) -> list[Floats]:
    """The finished latents of every item, float32 [frames, 64]."""
    denoiser = studio.denoisers[plan.dit.name]
    running = [asyncio.create_task(denoiser.denoise(track)) for track in tracks]
    try:
        return [latents[: plan.length.frames] for latents in await asyncio.gather(*running)]
    finally:
        for task in running:
            task.cancel()


async def _decode(plan: SongPlan, studio: Studio, caller: Caller, latents: list[Floats]) -> list[float]:
    """Sends every item's audio in order, one chunk decoded ahead of the one being sent; returns the peaks."""
    work = [
        (item, chunk)
        for item in range(len(latents))
        for chunk in cut_chunks(plan.length.frames, studio.served.overlap_frames)
    ]
    peaks = [0.0] * len(latents)

    def start(index: int) -> asyncio.Task[Floats]:
        item, chunk = work[index]
        return asyncio.create_task(_decode_chunk(studio.models, latents[item], chunk, plan.length))

    ahead = start(0)
    try:
        for index, (item, chunk) in enumerate(work):
            pcm = await ahead
            caller.check()
            if index + 1 < len(work):
                ahead = start(index + 1)
            peaks[item] = max(peaks[item], float(np.abs(pcm).max()))
            await caller.send(Audio(item, chunk.first * HOP, pcm))
            caller.report(Progress("decode", index + 1, len(work)))
    finally:
        if not ahead.done():
            # A call to a Triton model cannot be taken back: let it end, and drop what it brings.
            ahead.add_done_callback(lambda task: task.cancelled() or task.exception())
    return peaks


async def _decode_chunk(models: Models, latents: Floats, chunk: Chunk, length: SongLength) -> Floats:
    """Audio [2, n] of the frames a chunk keeps, cut at the song's end."""
    audio = await models.decode(latents[chunk.begin : chunk.end])
    first, last = chunk.first * HOP, min(chunk.last * HOP, length.samples)
    offset = chunk.begin * HOP
    return np.ascontiguousarray(audio[:, first - offset : last - offset])


def context_of_silence(silence: Floats, length: SongLength) -> Floats:
    """Context latents of a song without source audio: silence, all of it to be generated; float32 [visible, 128]."""
    frames = length.visible
    repeats = -(-frames // len(silence))
    source = np.tile(silence, (repeats, 1))[:frames] if repeats > 1 else silence[:frames]
    return np.concatenate([source, np.ones((frames, LATENT_CHANNELS), np.float32)], axis=1)
