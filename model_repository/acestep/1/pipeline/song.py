"""The way of one song: plan, compose, listen, condition, denoise, decode."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from .chunks import Chunk, cut_chunks
from .denoiser import Denoiser
from .errors import CANCELLED, FAULT, SongError
from .events import Audio, Described, Done, Event, Latents, LmCodes, Planning, Progress
from .facts import Served
from .length import HOP, LATENT_CHANNELS, SongLength
from .lm.compose import Audience, LmService, compose, is_missing, needed_for
from .material import Listener, Uploads, silence
from .models import Condition, Floats, Models
from .noise import draw_normal
from .plan import Heard, SongPlan, check_song, plan_song
from .region import Splice, fade_inside, fade_outside
from .repaint import Kept
from .request import SongRequest
from .sampler import mix
from .tokens import PromptTokenizer
from .track import Stage, Track


@dataclass(frozen=True)
class Studio:
    """What all songs share: the models and what is known of them, a step loop for each DiT, the LM and its engines."""

    models: Models
    served: Served
    tokenizer: PromptTokenizer
    denoisers: Mapping[str, Denoiser]
    lm: LmService


@dataclass(frozen=True)
class Caller:
    """The other end of a song: takes its events in order, and may leave."""

    send: Callable[[Event], Awaitable[None]]
    report: Callable[[Progress | Planning], None]
    has_left: Callable[[], bool]

    def check(self) -> None:
        """Raises when the caller has left."""
        if self.has_left():
            raise SongError(CANCELLED, "the song was cancelled")


def check(request: SongRequest, studio: Studio, heard: Heard) -> None:
    """Refuses what cannot be served, by what is known before the uploads are touched. Errors: 400."""
    if (field := needed_for(request)) is not None and studio.lm.lm is None:
        raise is_missing(field)
    check_song(request, studio.served, heard)


async def prepare(request: SongRequest, studio: Studio, uploads: Uploads) -> SongPlan:
    """The plan as far as it is known without the LM. Errors: 400 for what cannot be served, before anything runs."""
    return await asyncio.to_thread(_plan, request, studio, uploads)


async def sing(plan: SongPlan, request: SongRequest, studio: Studio, caller: Caller, uploads: Uploads) -> None:
    """Makes the song and sends its events, `Done` last. Errors: SongError, at the latest one step after its cause."""
    begin = time.perf_counter()
    composition = await compose(request, studio.lm, Audience(caller.report, caller.check), _seconds(plan))
    if composition.use is not None:
        plan = await asyncio.to_thread(_plan, composition.request, studio, uploads)
    metadata = replace(plan.metadata, genres=composition.genres)
    await caller.send(Described(metadata))
    if "codes" in plan.wanted:
        for item, codes in enumerate(plan.codes or ()):
            await caller.send(LmCodes(item, codes))
    composed = time.perf_counter()
    listener = await _listen(plan, studio, caller, uploads)
    tracks = await _condition(plan, studio, caller, listener)
    conditioned = time.perf_counter()
    latents = await _denoise(plan, studio, tracks)
    if "latents" in plan.wanted:
        for item, finished in enumerate(latents):
            await caller.send(Latents(item, finished))
    denoised = time.perf_counter()
    peaks = await _decode(plan, studio, caller, latents, await _splice(plan, uploads))
    end = time.perf_counter()
    await caller.send(Done(
        model=plan.dit.name,
        seeds=plan.seeds,
        duration=metadata.duration,
        schedule=plan.course.schedule,
        peaks=tuple(peaks),
        timings={"plan": composition.plan_seconds, "codes": composition.codes_seconds,
                 "condition": conditioned - composed, "denoise": denoised - conditioned, "decode": end - denoised,
                 "total": end - begin},
        metadata=metadata,
        keeps_level=plan.keeps_level,
        notes=(*composition.notes, *plan.notes),
        lm=composition.use,
    ))


def _plan(request: SongRequest, studio: Studio, uploads: Uploads) -> SongPlan:
    return plan_song(request, studio.served, studio.tokenizer, uploads.heard)


def _seconds(plan: SongPlan) -> float | None:
    """What the length is when it is not the LM's to choose: a source's, or that of given codes."""
    return plan.metadata.duration if plan.canvas is not None or plan.codes is not None else None


async def _listen(plan: SongPlan, studio: Studio, caller: Caller, uploads: Uploads) -> Listener:
    """Source and reference audio, encoded."""
    listener = Listener(plan, studio.models, studio.served)
    if plan.canvas is not None or plan.uses_reference:
        await listener.listen(uploads)
        caller.check()
        caller.report(Progress("encode", 1, 1))
    return listener


async def _condition(plan: SongPlan, studio: Studio, caller: Caller, listener: Listener) -> list[Track]:
    """One track for each item, with its own noise and what it follows; items share what does not depend on a seed."""
    total = len(plan.seeds) * len(plan.course.schedule)
    song, steps = object(), [0] * len(plan.seeds)

    def on_step(item: int, step: int) -> None:
        caller.check()
        steps[item] = step
        caller.report(Progress("denoise", sum(steps), total))

    tracks: list[Track] = []
    for item, seed in enumerate(plan.seeds):
        if not tracks or plan.uses_reference:
            # Of what the texts are encoded with, only a reference's timbre is drawn by seed.
            texts = await _encode_texts(plan, studio, await listener.timbre(seed))
        if not tracks or plan.canvas is not None or plan.codes is not None:
            followed = await listener.follow(item)
        noise = await asyncio.to_thread(draw_normal, seed, "latents", (plan.length.visible, LATENT_CHANNELS))
        begin = noise if plan.start is None else await asyncio.to_thread(mix, noise, followed.latents, plan.start)
        kept = _kept(plan, followed.latents, noise)
        stages = await asyncio.to_thread(_stages, plan, texts, followed.context)
        tracks.append(Track(
            seed, begin, stages, plan.course,
            lambda step, item=item: on_step(item, step), kept, song))  # type: ignore[misc]
        caller.check()
        caller.report(Progress("condition", item + 1, len(plan.seeds)))
    return tracks


async def _encode_texts(plan: SongPlan, studio: Studio, timbre: Floats) -> list[Condition]:
    """The condition of the song's prompt, and after it that of the later one, if there is one."""
    prompts = [plan.prompt] if plan.later is None else [plan.prompt, plan.later.prompt]
    return [await studio.models.condition(plan.dit.name, prompt, plan.lyrics, timbre) for prompt in prompts]


def _stages(plan: SongPlan, texts: list[Condition], context: Floats) -> tuple[Stage, ...]:
    """What an item follows, from its first step on and, with a cover strength below 1, later."""
    first = Stage(0, texts[0], context)
    if plan.later is None:
        return (first,)
    # Upstream keeps the mask of the task: a lego's region stays one.
    mask = context[:, LATENT_CHANNELS:]
    free = np.concatenate([silence(plan.dit.silence, plan.length.visible), mask], axis=1)
    return (first, Stage(plan.later.begin, texts[1], free))


def _kept(plan: SongPlan, source: Floats, noise: Floats) -> Kept | None:
    """What an item puts back of its source's latents while it is made; None in this project's own way."""
    if plan.keeping is None or plan.canvas is None:
        return None
    steps = round(plan.keeping.injected * len(plan.course.schedule))
    return Kept(source, noise, *plan.canvas.frames(), steps, plan.keeping.blend_frames)


async def _denoise(plan: SongPlan, studio: Studio, tracks: list[Track]) -> list[Floats]:
    """The finished latents of every item, float32 [frames, 64]."""
    denoiser = studio.denoisers[plan.dit.name]
    running = [asyncio.create_task(denoiser.denoise(track)) for track in tracks]
    try:
        finished = [latents[: plan.length.frames] for latents in await asyncio.gather(*running)]
        return finished if plan.latent_scale == (1.0, 0.0) else [
            await asyncio.to_thread(_rescaled, latents, plan) for latents in finished]
    finally:
        for task in running:
            task.cancel()


def _rescaled(latents: Floats, plan: SongPlan) -> Floats:
    factor, offset = plan.latent_scale
    return latents * np.float32(factor) + np.float32(offset)


async def _splice(plan: SongPlan, uploads: Uploads) -> Splice | None:
    """What puts the source back around a region; None where nothing of it is kept."""
    canvas, source, keeping = plan.canvas, uploads.source, plan.keeping
    if not plan.splices or canvas is None or source is None:
        return None

    def build() -> Splice:
        weight = fade_inside(canvas) if keeping is None else fade_outside(canvas, keeping.fade_samples)
        return Splice(canvas, source, weight)

    return await asyncio.to_thread(build)


async def _decode(
    plan: SongPlan, studio: Studio, caller: Caller, latents: list[Floats], splice: Splice | None
) -> list[float]:
    """Sends every item's audio in order, one chunk decoded ahead of the one being sent; returns the peaks."""
    work = [
        (item, chunk)
        for item in range(len(latents))
        for chunk in cut_chunks(plan.length.frames, studio.served.overlap_frames)
    ]
    peaks = [0.0] * len(latents)

    def start(index: int) -> asyncio.Task[tuple[Floats, float]]:
        item, chunk = work[index]
        return asyncio.create_task(_decode_chunk(studio.models, latents[item], chunk, plan.length, splice))

    ahead = start(0)
    try:
        for index, (item, chunk) in enumerate(work):
            pcm, peak = await ahead
            caller.check()
            if index + 1 < len(work):
                ahead = start(index + 1)
            peaks[item] = max(peaks[item], peak)
            await caller.send(Audio(item, chunk.first * HOP, pcm))
            caller.report(Progress("decode", index + 1, len(work)))
        if splice is not None:
            await asyncio.to_thread(splice.close)
    finally:
        if not ahead.done():
            # A call to a Triton model cannot be taken back: let it end, and drop what it brings.
            ahead.add_done_callback(lambda task: task.cancelled() or task.exception())
    return peaks


async def _decode_chunk(
    models: Models, latents: Floats, chunk: Chunk, length: SongLength, splice: Splice | None
) -> tuple[Floats, float]:
    """Audio [2, n] of the frames a chunk keeps, cut at the song's end, the source put back; and its peak."""
    audio = await models.decode(latents[chunk.begin : chunk.end])

    def cut() -> tuple[Floats, float]:
        first, last = chunk.first * HOP, min(chunk.last * HOP, length.samples)
        offset = chunk.begin * HOP
        kept = np.ascontiguousarray(audio[:, first - offset : last - offset])
        if not np.isfinite(kept).all():
            raise SongError(FAULT, "model vae_decoder returned values that are no numbers")
        if splice is not None:
            kept = splice.apply(first, kept)
        return kept, float(np.abs(kept).max())

    # Reads two megabytes a few times over: not on the loop that all songs share.
    return await asyncio.to_thread(cut)
