"""From a request to what will be done: every decision about a song is taken here, before any model runs."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

from contract.tasks import TASKS, TASKS_OF_CODES

from .dcw import Dcw
from .errors import FAULT, SongError, invalid
from .facts import Dit, Served
from .length import SAMPLE_RATE, SongLength, song_length
from .prompts import Metadata, caption_prompt, instruction_for, lyric_prompt, stem_caption, sung_lyrics
from .region import MAX_SECONDS, Canvas, plan_canvas
from .repaint import Keeping
from .request import SongRequest
from .schedule import custom_schedule, shifted, turbo_schedule
from .tokens import PromptTokenizer, TokenIds
from .track import Course, Guidance

CODES_PER_SECOND = 5
# Of `chunk_mask_mode`: 2 tells the DiT that it may decide itself (upstream eae40da), 1 that it makes all of it anew.
MASK_VALUES = {"explicit": None, "auto": 2.0, "ones": 1.0}
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
    """From step `begin` on the song follows no source any more, and this prompt (docs/model.md, Sources)."""

    begin: int
    prompt: TokenIds


@dataclass(frozen=True)
class SongPlan:
    """One song, decided: which DiT, which texts, how long, how sampled, one seed for each item.

    `start` is the t at which a song begins that is made out of its source, None where it begins with noise alone.
    `mask_value` stands in every frame of the context's mask, None where the task's own mask does. `keeping` is how a
    region's surroundings are kept, None for this project's own way. `latent_scale` (factor, offset) is applied to the
    finished latents. `canvas` places a source that is used; `keeps_level` says that the audio's level is the source's.
    """

    dit: Dit
    task: str
    metadata: Metadata
    prompt: TokenIds
    lyrics: TokenIds
    later: Later | None
    length: SongLength
    start: float | None
    course: Course
    mask_value: float | None
    keeping: Keeping | None
    latent_scale: tuple[float, float]
    seeds: tuple[int, ...]
    codes: tuple[tuple[int, ...], ...] | None
    canvas: Canvas | None
    source_is_silent: bool
    uses_reference: bool
    notes: tuple[str, ...]
    wanted: frozenset[str]

    @property
    def keeps_level(self) -> bool:
        return self.task == "repaint" or self.splices

    @property
    def splices(self) -> bool:
        """Samples of the source are put back around the region."""
        if self.canvas is None or self.canvas.is_whole or not TASKS[self.task].has_region:
            return False
        return self.task == "repaint" if self.keeping is None else self.keeping.is_spliced


def check_song(request: SongRequest, served: Served, heard: Heard) -> None:
    """Raises the 400 of `plan_song`, without encoding a text; how loud the uploads are makes no difference to it."""
    dit = served.choose(request.model)
    _check_task(request, dit, served, heard)
    task = _task(request)
    _duration(request, _canvas(request, task, heard))
    _course(request, dit, task)


def plan_song(request: SongRequest, served: Served, tokenizer: PromptTokenizer, heard: Heard = Heard()) -> SongPlan:
    """The plan of a song. Errors: 400 naming the field that this model cannot serve."""
    dit = served.choose(request.model)
    _check_task(request, dit, served, heard)
    task = _task(request)
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
    start, course = _course(request, dit, task)
    # Callers need not know which model they get, and most ask a turbo model for a base model's steps.
    if request.timesteps is None and request.steps is not None and request.steps > dit.max_steps:
        notes.append(f"of {request.steps} steps {dit.max_steps} were made, the most on {dit.name}")
    if request.sampler_mode == "heun" and not course.is_heun:
        notes.append("sampler_mode heun was not used: sde takes Euler's steps")
    later = None
    if TASKS[task].ends_source and request.cover_strength < 1:
        begin = int(len(course.schedule) * request.cover_strength)
        later = Later(begin, _prompt("text2music", request, metadata, dit, tokenizer))
    if prompt.cut:
        notes.append(f"caption cut to the encoder's {dit.max_prompt_tokens} tokens ({prompt.cut} dropped)")
    if lyrics.cut:
        notes.append(f"lyrics cut to the encoder's {dit.max_lyric_tokens} tokens ({lyrics.cut} dropped)")
    notes += _code_notes(request.codes, duration)
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
        start=start,
        course=course,
        mask_value=MASK_VALUES[request.chunk_mask_mode],
        keeping=_keeping(request, task),
        latent_scale=(request.latent_rescale, request.latent_shift),
        seeds=tuple(secrets.randbits(32) if seed == -1 else seed for seed in request.seeds),
        codes=request.codes,
        canvas=canvas,
        source_is_silent=heard.source_is_silent,
        uses_reference=heard.has_reference and not heard.reference_is_silent,
        notes=tuple(notes),
        wanted=request.wanted,
    )


def _task(request: SongRequest) -> str:
    """The task whose way the song goes."""
    return "cover" if request.codes is not None else request.task


def _check_task(request: SongRequest, dit: Dit, served: Served, heard: Heard) -> None:
    if request.task not in dit.tasks:
        models = [other.name for other in served.dits.values() if request.task in other.tasks]
        raise invalid("task", f"{request.task} needs one of the models {', '.join(models) or '(none is served)'}")
    task = TASKS[request.task]
    if request.codes is not None and not task.follows_codes:
        raise invalid("codes", f"cannot be used with {task.name}; only with {' and '.join(TASKS_OF_CODES)}")
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
    return request.fallback_duration, [f"no duration given: {request.fallback_duration:g} seconds"]


def _code_notes(codes: tuple[tuple[int, ...], ...] | None, seconds: float) -> Iterator[str]:
    """What a song does with codes that are not as long as it is."""
    for count in sorted({len(item) for item in codes or ()}):
        wanted = int(seconds * CODES_PER_SECOND)
        if count > wanted:
            yield f"of {count} audio codes the first {wanted} were followed: the song has {seconds:g} seconds"
        if count < wanted:
            yield f"{count} audio codes are {count / CODES_PER_SECOND:g} seconds; the rest follows silence"


def _prompt(
    task: str, request: SongRequest, metadata: Metadata, dit: Dit, tokenizer: PromptTokenizer
) -> TokenIds:
    # The later, source-free part of a cover has the plain instruction, whatever the caller's own says.
    is_later = task == "text2music" and (request.task != "text2music" or request.codes is not None)
    instruction = instruction_for(task, "" if is_later else request.instruction, request.tracks)
    if dit.is_lego_sft and not is_later:
        is_mask_given = request.chunk_mask_mode == "explicit"
        caption = stem_caption(metadata, request.global_caption, instruction, is_mask_given)
        metadata = replace(metadata, caption=caption)
    return tokenizer.encode(caption_prompt(instruction, metadata), dit.max_prompt_tokens)


def _course(request: SongRequest, dit: Dit, task: str) -> tuple[float | None, Course]:
    """Where the song begins, see SongPlan, and its course from there."""
    schedule = _schedule(request, dit)
    start = None
    if request.cover_noise_strength > 0 and TASKS[task].starts_at_source:
        start = min(schedule, key=lambda t: abs(t - (1 - request.cover_noise_strength)))
        schedule = schedule[schedule.index(start) :]
    dcw = Dcw(request.dcw_mode, request.dcw_scaler, request.dcw_high_scaler) if request.dcw_enabled else None
    return start, Course(
        schedule, request.infer_method, _guidance(request, dit),
        is_heun=request.sampler_mode == "heun" and request.infer_method == "ode",
        norm_threshold=request.velocity_norm_threshold, ema_factor=request.velocity_ema_factor, dcw=dcw,
        ends_plainly=dit.is_turbo)


def _keeping(request: SongRequest, task: str) -> Keeping | None:
    if request.repaint_mode is None or not TASKS[task].has_region:
        return None
    return Keeping.of(request.repaint_mode, request.repaint_strength)


def _schedule(request: SongRequest, dit: Dit) -> tuple[float, ...]:
    if request.timesteps is not None:
        return custom_schedule(request.timesteps, dit.is_turbo)
    steps = min(request.steps or dit.default_steps, dit.max_steps)
    return turbo_schedule(steps, request.shift) if dit.is_turbo else shifted(steps, request.shift)


def _guidance(request: SongRequest, dit: Dit) -> Guidance | None:
    """None where guidance does nothing: turbo models have it distilled into their weights, and 1 is no guidance."""
    if dit.is_turbo or request.guidance_scale <= 1:
        return None
    if dit.null_condition is None:
        raise SongError(FAULT, f"model {dit.name} has no null condition: export it again")
    return Guidance(request.guidance_scale, *request.cfg_interval, request.use_adg, dit.null_condition)
