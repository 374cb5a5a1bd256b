"""What the LM does for a song: decide what to ask of it, ask, and merge the answers with what the user said."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from contract.tasks import TASKS, LmPart

from ..errors import INVALID, NOT_READY, SongError, invalid
from ..events import LmUse, Planning, Progress
from ..prompts import INSTRUMENTAL_LYRICS, sung_lyrics
from ..request import SongRequest
from .block import Sheet, count_codes, read_block, read_codes
from .desk import CODES_PER_SECOND, Desk
from .engine import Engine
from .facts import Lm
from .merge import (
    codes_sheet,
    given,
    merge_format,
    merge_metadata,
    merge_sample,
    metadata_form,
    song_form,
    wants_metadata,
    written,
)
from .prompts import Brief
from .writer import Script, Voice, Writer

_REPORT_EVERY = 0.25


@dataclass(frozen=True)
class LmService:
    """The LM and its engines by name; `lm` None serves songs without one."""

    lm: Lm | None
    engines: Mapping[str, Engine]


@dataclass(frozen=True)
class Audience:
    """The other end while the LM writes: `report` takes what is worth telling, `check` raises when nobody is there."""

    report: Callable[[Progress | Planning], None]
    check: Callable[[], None]


@dataclass(frozen=True)
class Composition:
    """The request with what the LM added; `use` None when it was not asked."""

    request: SongRequest
    genres: str = ""
    use: LmUse | None = None
    notes: tuple[str, ...] = ()
    plan_seconds: float = 0.0
    codes_seconds: float = 0.0


def needed_for(request: SongRequest) -> str | None:
    """The field that cannot be served without the LM, if there is one (docs/behaviour.md, When the LM is needed)."""
    if request.kind == "codes":
        return None
    if request.kind != "song":
        return "kind"
    if TASKS[request.task].lm is LmPart.NOTHING:
        return None
    if _wants_codes(request):
        return "thinking"
    if request.sample_query.strip():
        return "sample_query"
    if request.sample_mode:
        return "sample_mode"
    return "use_format" if request.use_format == "need" and _has_words(request) else None


def is_missing(field: str) -> SongError:
    """The error of a field that needs an LM where none is served."""
    return invalid(field, "needs the 5 Hz LM, which is not loaded (LM=none)")


async def compose(
    request: SongRequest, service: LmService, audience: Audience, source_seconds: float | None
) -> Composition:
    """The composition of a song.

    Errors: 400 naming the field that needs an LM where none is served; 503 when it is away and the song needs it. A
    song that would only be better with it is made without, and a note says so.
    """
    if request.kind == "song" and TASKS[request.task].lm is LmPart.NOTHING:
        return Composition(request, notes=tuple(_refused(request)))
    needed = needed_for(request)
    if needed is None and not _wants_format(request) and not wants_metadata(request, given(request, source_seconds)):
        return Composition(request)
    if service.lm is None:
        if needed is not None:
            raise is_missing(needed)
        return Composition(request, notes=(_left_out("not loaded (LM=none)"),))
    composer = _Composer(service.lm, service.engines, request, audience)
    try:
        return await composer.compose(source_seconds)
    except SongError as error:
        if error.status != NOT_READY or needed is not None:
            raise
        return Composition(request, notes=(_left_out("not ready"),))


class _Composer:
    """One song's work with the LM, in the order of the reference: sample or format, then metadata, then codes."""

    def __init__(
        self, lm: Lm, engines: Mapping[str, Engine], request: SongRequest, audience: Audience
    ) -> None:
        seeds = tuple(secrets.randbits(32) if seed == -1 else seed for seed in request.seeds)
        self._request = replace(request, seeds=seeds)
        self._lm = lm
        self._audience = audience
        self._engine = request.lm_engine or "vllm"
        self._writer = Writer(engines[self._engine], Voice(
            request.lm_temperature, request.lm_top_k, request.lm_top_p, request.lm_cfg_scale,
            request.lm_repetition_penalty), audience.check)
        # The metadata of a song is drawn once, by its first seed.
        self._desk = Desk(lm, request, seeds[0])
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._plan_seconds = self._codes_seconds = 0.0
        self._notes: list[str] = []

    async def compose(self, source_seconds: float | None) -> Composition:
        """See the function."""
        request, sheet = await self._sketch(self._request, source_seconds)
        known, brief, planned = given(request, source_seconds), self._brief(request), Sheet()
        if request.kind == "metadata" or _lacks_metadata(request, known):
            sheet = planned = await self._plan(self._desk.metadata(brief, metadata_form(request, known)))
            request = merge_metadata(request, self._bounded(sheet))
        if _wants_codes(request):
            begin = time.perf_counter()
            request = self._with_duration(request)
            request = await self._write_codes(request, brief, codes_sheet(known, planned, request))
            self._codes_seconds = time.perf_counter() - begin
        wrote = written(self._request, request)
        if source_seconds is not None:  # the song is as long as what it follows, whatever the block says
            wrote = tuple(name for name in wrote if name != "duration")
        use = LmUse(self._lm.name, self._engine, wrote,
                    self._prompt_tokens, self._completion_tokens)
        return Composition(request, sheet.genres or "", use, (*self._notes, *self._desk.notes),
                           self._plan_seconds, self._codes_seconds)

    async def _sketch(self, request: SongRequest, source_seconds: float | None) -> tuple[SongRequest, Sheet]:
        """A whole song written from a wish, from nothing, from codes or from its caption and lyrics; or none of it."""
        if request.kind == "metadata":
            return request, Sheet()
        form = song_form(request, given(request, source_seconds))
        if request.kind == "understand":
            assert request.codes is not None
            script, merge = self._desk.understand(request.codes[0], form), merge_format
        elif request.sample_query.strip():
            query = self._desk.plain(request.sample_query)
            script, merge = self._desk.sample(query, request.instrumental, form), self._merge_sample
        elif _is_sampled(request):
            script, merge = self._desk.understand((), form), self._merge_sample
        elif _wants_format(request):
            script, merge = self._desk.format(self._brief(request), form), merge_format
        else:
            return request, Sheet()
        sheet = self._bounded(await self._plan(script))
        return merge(request, sheet), sheet

    def _merge_sample(self, request: SongRequest, sheet: Sheet) -> SongRequest:
        return merge_sample(request, sheet, self._lm.duration_max)

    async def _plan(self, script: Script) -> Sheet:
        """What the LM says of a song, told while it is written."""
        begin = time.perf_counter()
        self._audience.report(Progress("plan", 0, 1))
        answer = await self._writer.write(script, lambda text: self._audience.report(Planning(text)))
        self._count(answer.prompt_tokens, answer.completion_tokens)
        self._audience.report(Progress("plan", 1, 1))
        self._plan_seconds += time.perf_counter() - begin
        return read_block(answer.text)

    def _with_duration(self, request: SongRequest) -> SongRequest:
        """The request with its length decided, because codes are counted by it."""
        if request.duration is not None:
            return request
        self._notes.append(f"no duration given: {request.fallback_duration:g} seconds")
        return replace(request, duration=request.fallback_duration)

    async def _write_codes(self, request: SongRequest, brief: Brief, sheet: Sheet) -> SongRequest:
        """The codes of every item, all at once, asked for in the user's words and with `sheet` as the block."""
        assert request.duration is not None
        count = int(request.duration * CODES_PER_SECOND)
        if sheet.caption is not None:
            sheet = replace(sheet, caption=" ".join(self._desk.plain(sheet.caption).split()) or None)
        counter = _Counter(count * len(request.seeds), self._audience.report)

        async def item(seed: int) -> tuple[int, ...]:
            answer = await self._writer.write(self._desk.codes(brief, sheet, seed, count), counter.hear)
            self._count(answer.prompt_tokens, answer.completion_tokens)
            codes = read_codes(answer.text)[:count]
            if not codes:
                raise SongError(INVALID, "constrained_decoding: without it the LM wrote no audio codes for this song")
            if len(codes) < count:
                self._notes.append(f"the LM wrote {len(codes)} of {count} audio codes; the rest follows silence")
            return codes

        items = [asyncio.create_task(item(seed)) for seed in request.seeds]
        try:
            return replace(request, codes=tuple(await asyncio.gather(*items)))
        finally:
            for task in items:
                task.cancel()

    def _brief(self, request: SongRequest) -> Brief:
        lyrics = sung_lyrics(request.lyrics, request.instrumental)
        if lyrics != INSTRUMENTAL_LYRICS:
            lyrics = self._desk.plain(lyrics)
        return Brief(self._desk.plain(request.caption), lyrics)

    def _bounded(self, sheet: Sheet) -> Sheet:
        """Without constraints the LM may choose a longer song than it is allowed to."""
        if sheet.duration is None or sheet.duration <= self._lm.duration_max:
            return sheet
        return replace(sheet, duration=self._lm.duration_max)

    def _count(self, prompt: int, completion: int) -> None:
        self._prompt_tokens += prompt
        self._completion_tokens += completion


class _Counter:
    """Tells how many codes of all items there are, a few times a second."""

    def __init__(self, total: int, report: Callable[[Progress], None]) -> None:
        self._total = total
        self._report = report
        self._done = 0
        self._told = 0.0

    def hear(self, text: str) -> None:
        """More of an item's codes."""
        self._done = min(self._total, self._done + count_codes(text))
        now = time.monotonic()
        if now - self._told >= _REPORT_EVERY or self._done == self._total:
            self._told = now
            self._report(Progress("codes", self._done, self._total))


def _wants_codes(request: SongRequest) -> bool:
    has_codes = request.codes is not None
    return request.kind == "song" and request.thinking and TASKS[request.task].lm is LmPart.CODES and not has_codes


def _lacks_metadata(request: SongRequest, known: Sheet) -> bool:
    """A song whose metadata nobody has written, and somebody wants."""
    return request.kind == "song" and not _is_sampled(request) and wants_metadata(request, known)


def _wants_format(request: SongRequest) -> bool:
    asked = request.kind == "format" or (request.kind == "song" and request.use_format != "off")
    return asked and not _is_sampled(request) and _has_words(request)


def _is_sampled(request: SongRequest) -> bool:
    return request.kind in ("sample", "understand") or request.sample_mode or bool(request.sample_query.strip())


def _has_words(request: SongRequest) -> bool:
    return bool(request.caption.strip() or request.lyrics.strip())


def _refused(request: SongRequest) -> Iterator[str]:
    """What was asked of the LM for a task that uses none; the cot flags are defaults of every client."""
    asked = {"thinking": request.thinking, "sample_query": bool(request.sample_query.strip()),
             "sample_mode": request.sample_mode, "use_format": request.use_format == "need"}
    for name, is_asked in asked.items():
        if is_asked:
            yield f"{name} was not used: {request.task} uses no LM"


def _left_out(why: str) -> str:
    return f"5 Hz LM: {why}; caption, language and missing metadata were left as given"
