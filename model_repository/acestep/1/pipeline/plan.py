"""From a request to what will be done: every decision about a song is taken here, before any model runs."""

import secrets
from dataclasses import dataclass

from contract.tasks import TASKS

from .errors import FAULT, SongError, invalid
from .facts import Dit, Served
from .length import DEFAULT_SECONDS, SAMPLE_RATE, SongLength, song_length
from .prompts import Metadata, caption_prompt, instruction_for, lyric_prompt, sung_lyrics
from .region import MAX_SECONDS, Canvas, plan_canvas
from .request import SongRequest
from .schedule import custom_schedule, shifted, turbo_schedule
from .tokens import PromptTokenizer, TokenIds
from .track import Course, Guidance

CODES_PER_SECOND = 5
DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True)
class Heard:
    """What is known of the uploads while planning: samples of the source (None without one), and the reference."""

    source: int | None = None
    source_is_silent: bool = False
    has_reference: bool = False
    reference_is_silent: bool = False


@dataclass(frozen=True)
class Later:
    """From step `begin` on the song follows no source any more, and this prompt (model facts E, cover strength)."""

    begin: int
    prompt: TokenIds


@dataclass(frozen=True)
class SongPlan:
    """One song, decided: which DiT, which texts, how long, how sampled, one seed for each item.

    `canvas` places a source that is used; `keeps_level` says that the audio's level is the source's.
    """

    dit: Dit
    task: str
    metadata: Metadata
    prompt: TokenIds
    lyrics: TokenIds
    later: Later | None
    length: SongLength
    course: Course
    seeds: tuple[int, ...]
    codes: tuple[tuple[int, ...], ...] | None
    canvas: Canvas | None
    source_is_silent: bool
    uses_reference: bool
    notes: tuple[str, ...]
    wanted: frozenset[str]

    @property
    def keeps_level(self) -> bool:
        return self.task == "repaint"


def plan_song(request: SongRequest, served: Served, tokenizer: PromptTokenizer, heard: Heard = Heard()) -> SongPlan:
    """The plan of a song. Errors: 400 naming the field that this model cannot serve."""
    dit = served.choose(request.model)
    _check_task(request, dit, served, heard)
    task = "cover" if request.codes is not None else request.task
    canvas = _canvas(request, task, heard)
    duration, notes = _duration(request, canvas)
    metadata = Metadata(
        caption=request.caption,
        lyrics=sung_lyrics(request.lyrics, request.instrumental),
        vocal_language=request.vocal_language or DEFAULT_LANGUAGE,
        bpm=request.bpm,
        key_scale=request.key_scale,
        time_signature=request.time_signature,
        duration=duration,
    )
    prompt = _prompt(task, request, metadata, dit, tokenizer)
    lyrics = tokenizer.encode(lyric_prompt(metadata), dit.max_lyric_tokens)
    course = Course(_schedule(request, dit), request.infer_method, _guidance(request, dit))
    later = None
    if TASKS[task].ends_source and request.cover_strength < 1:
        begin = int(len(course.schedule) * request.cover_strength)
        later = Later(begin, _prompt("text2music", request, metadata, dit, tokenizer))
    if prompt.cut:
        notes.append(f"caption cut to the encoder's {dit.max_prompt_tokens} tokens ({prompt.cut} dropped)")
    if lyrics.cut:
        notes.append(f"lyrics cut to the encoder's {dit.max_lyric_tokens} tokens ({lyrics.cut} dropped)")
    if heard.source is not None and canvas is None:
        notes.append("source audio was not used: " + ("audio codes win" if request.codes else f"{task} needs none"))
    if canvas is not None and heard.source_is_silent:
        notes.append("the source audio is silent")
    if heard.reference_is_silent:
        notes.append("reference audio was not used: it is silent")
    return SongPlan(
        dit=dit,
        task=task,
        metadata=metadata,
        prompt=prompt,
        lyrics=lyrics,
        later=later,
        length=song_length(duration) if canvas is None else canvas.length,
        course=course,
        seeds=tuple(secrets.randbits(32) if seed == -1 else seed for seed in request.seeds),
        codes=request.codes,
        canvas=canvas,
        source_is_silent=heard.source_is_silent,
        uses_reference=heard.has_reference and not heard.reference_is_silent,
        notes=tuple(notes),
        wanted=request.wanted,
    )


def _check_task(request: SongRequest, dit: Dit, served: Served, heard: Heard) -> None:
    if request.task not in dit.tasks:
        models = [other.name for other in served.dits.values() if request.task in other.tasks]
        raise invalid("task", f"{request.task} needs one of the models {', '.join(models) or '(none is served)'}")
    task = TASKS[request.task]
    if request.codes is not None and not task.follows_codes:
        able = " and ".join(other.name for other in TASKS.values() if other.follows_codes)
        raise invalid("codes", f"cannot be used with {task.name}; only with {able}")
    if task.needs_source and request.codes is None and heard.source is None:
        raise invalid("src_audio", f"is needed by {task.name}" + (", or codes" if task.follows_codes else ""))
    if heard.source == 0:
        raise invalid("src_audio", "is empty")


def _canvas(request: SongRequest, task: str, heard: Heard) -> Canvas | None:
    if not TASKS[task].needs_source or request.codes is not None or heard.source is None:
        return None
    return plan_canvas(heard.source, request.repaint_start, request.repaint_end, TASKS[task].has_region)


def _duration(request: SongRequest, canvas: Canvas | None) -> tuple[float, list[str]]:
    """Seconds of the song, and what the caller should know about them."""
    if canvas is not None:
        return canvas.samples / SAMPLE_RATE, []
    if request.duration is not None:
        return request.duration, []
    if request.codes is not None:
        seconds = max(map(len, request.codes)) / CODES_PER_SECOND
        if seconds > MAX_SECONDS:
            raise invalid("codes", f"must be at most {MAX_SECONDS * CODES_PER_SECOND:g} codes")
        return seconds, []
    return DEFAULT_SECONDS, [f"no duration given: {DEFAULT_SECONDS:g} seconds"]


def _prompt(
    task: str, request: SongRequest, metadata: Metadata, dit: Dit, tokenizer: PromptTokenizer
) -> TokenIds:
    # The later, source-free part of a cover has the plain instruction, whatever the caller's own says.
    is_later = task == "text2music" and (request.task != "text2music" or request.codes is not None)
    instruction = instruction_for(task, "" if is_later else request.instruction, request.tracks)
    return tokenizer.encode(caption_prompt(instruction, metadata), dit.max_prompt_tokens)


def _schedule(request: SongRequest, dit: Dit) -> tuple[float, ...]:
    if request.timesteps is not None:
        return custom_schedule(request.timesteps, dit.is_turbo)
    steps = request.steps or dit.default_steps
    if steps > dit.max_steps:
        raise invalid("steps", f"must be between 1 and {dit.max_steps} on {dit.name}")
    return turbo_schedule(steps, request.shift) if dit.is_turbo else shifted(steps, request.shift)


def _guidance(request: SongRequest, dit: Dit) -> Guidance | None:
    """None where guidance does nothing: turbo models have it distilled into their weights, and 1 is no guidance."""
    if dit.is_turbo or request.guidance_scale <= 1:
        return None
    if dit.null_condition is None:
        raise SongError(FAULT, f"model {dit.name} has no null condition: export it again")
    return Guidance(request.guidance_scale, *request.cfg_interval, request.use_adg, dit.null_condition)
