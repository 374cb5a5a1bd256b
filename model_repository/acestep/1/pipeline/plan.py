"""From a request to what will be done: every decision about a song is taken here, before any model runs."""

import secrets
from dataclasses import dataclass

from .errors import invalid
from .facts import Dit, Served
from .length import DEFAULT_SECONDS, SongLength, song_length
from .prompts import INSTRUCTIONS, Metadata, caption_prompt, lyric_prompt, sung_lyrics
from .request import SongRequest
from .schedule import custom_schedule, shifted, turbo_schedule
from .tokens import PromptTokenizer, TokenIds


@dataclass(frozen=True)
class SongPlan:
    """One song, decided: which DiT, which texts, how long, which schedule, one seed for each item."""

    dit: Dit
    metadata: Metadata
    prompt: TokenIds
    lyrics: TokenIds
    length: SongLength
    schedule: tuple[float, ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...]
    wanted: frozenset[str]


def plan_song(request: SongRequest, served: Served, tokenizer: PromptTokenizer) -> SongPlan:
    """The plan of a song. Errors: 400 naming the field that this model or this version cannot serve."""
    dit = served.choose(request.model)
    _check_task(request, dit, served)
    notes: list[str] = []
    metadata = Metadata(
        caption=request.caption,
        lyrics=sung_lyrics(request.lyrics, request.instrumental),
        vocal_language=request.vocal_language,
        bpm=request.bpm,
        key_scale=request.key_scale,
        time_signature=request.time_signature,
        duration=DEFAULT_SECONDS if request.duration is None else request.duration,
    )
    prompt = tokenizer.encode(
        caption_prompt(request.instruction or INSTRUCTIONS[request.task], metadata), dit.max_prompt_tokens)
    lyrics = tokenizer.encode(lyric_prompt(metadata), dit.max_lyric_tokens)
    if request.duration is None:
        notes.append(f"no duration given: {DEFAULT_SECONDS:g} seconds")
    if prompt.cut:
        notes.append(f"caption cut to the encoder's {dit.max_prompt_tokens} tokens ({prompt.cut} dropped)")
    if lyrics.cut:
        notes.append(f"lyrics cut to the encoder's {dit.max_lyric_tokens} tokens ({lyrics.cut} dropped)")
    return SongPlan(
        dit=dit,
        metadata=metadata,
        prompt=prompt,
        lyrics=lyrics,
        length=song_length(metadata.duration),
        schedule=_schedule(request, dit),
        seeds=tuple(secrets.randbits(32) if seed == -1 else seed for seed in request.seeds),
        notes=tuple(notes),
        wanted=request.wanted,
    )


def _check_task(request: SongRequest, dit: Dit, served: Served) -> None:
    if request.task not in dit.tasks:
        able = [other.name for other in served.dits.values() if request.task in other.tasks]
        raise invalid("task", f"{request.task} needs one of the models {', '.join(able) or '(none is served)'}")
    if request.task not in INSTRUCTIONS:
        raise invalid("task", f"{request.task} is not built yet; text2music is")
    if request.infer_method != "ode":
        raise invalid("infer_method", f"{request.infer_method} is not built yet; ode is")
    if not dit.is_turbo and request.guidance_scale > 1:
        raise invalid("guidance_scale", "above 1 is not built yet on base models")


def _schedule(request: SongRequest, dit: Dit) -> tuple[float, ...]:
    if request.timesteps is not None:
        return custom_schedule(request.timesteps, dit.is_turbo)
    steps = request.steps or dit.default_steps
    if steps > dit.max_steps:
        raise invalid("steps", f"must be between 1 and {dit.max_steps} on {dit.name}")
    return turbo_schedule(steps, request.shift) if dit.is_turbo else shifted(steps, request.shift)
