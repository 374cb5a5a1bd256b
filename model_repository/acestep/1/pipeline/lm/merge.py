"""Who wins: what the user said against what the LM wrote (docs/behaviour.md, Who wins)."""

from collections.abc import Sequence
from dataclasses import replace

from contract.tasks import TASKS, LmPart

from ..request import SongRequest
from .block import LANGUAGES, Sheet, read_key
from .desk import Form

# What a sample has when the LM leaves it open, as the reference.
SAMPLE = Sheet(bpm=120, keyscale="C major", timesignature="4", duration=120)
_METADATA = ("bpm", "key_scale", "time_signature", "duration", "vocal_language", "caption", "lyrics")


def given(request: SongRequest, source_seconds: float | None) -> Sheet:
    """What the user fixed, in the LM's spelling; a source fixes the duration."""
    seconds = request.duration if source_seconds is None else min(600.0, max(10.0, source_seconds))
    language = (request.vocal_language or "").lower()
    return Sheet(
        bpm=request.bpm,
        duration=None if seconds is None else int(seconds),
        keyscale=read_key(request.key_scale),
        language=language if language in LANGUAGES else None,
        timesignature=request.time_signature or None,
    )


def wants_metadata(request: SongRequest, known: Sheet) -> bool:
    """Whether a metadata call is worth making: four values are enough, and some tasks use no LM."""
    return request.use_cot_metas and not _is_complete(known) and TASKS[request.task].lm is not LmPart.NOTHING


def metadata_form(request: SongRequest, known: Sheet) -> Form:
    """The block of a song's metadata: given values forced in, the caption and the language only if they are wanted."""
    wanted = ["bpm", *(["caption"] if request.use_cot_caption else []), "duration", "keyscale",
              *(["language"] if request.use_cot_language or known.language else []), "timesignature"]
    return _form(wanted, known, text=False)


def codes_sheet(known: Sheet, planned: Sheet, merged: SongRequest) -> Sheet:
    """What the block says that an item's codes follow.

    `known` is what was given before the metadata call, `planned` what that call said (nothing where there was none),
    `merged` the song with both. As in training, the LM's caption and the language stand in the block, not in the user's
    turn; with all four values given there was no call and neither stands anywhere (upstream 6d467e4, has_all_metas).
    """
    values = replace(given(merged, None), language=None)
    if _is_complete(known):
        return values
    chosen = planned.language if merged.use_cot_language else None
    return replace(values, caption=planned.caption if merged.use_cot_caption else None,
                   language=known.language or chosen)


def song_form(request: SongRequest, known: Sheet) -> Form:
    """The block of a whole song; lyrics follow unless the user wrote them or wants none."""
    wanted = ("bpm", "caption", "duration", "genres", "keyscale", "language", "timesignature")
    return _form(wanted, known, text=not request.instrumental and not request.lyrics.strip())


def merge_metadata(request: SongRequest, sheet: Sheet) -> SongRequest:
    """The user's values, and the LM's where there is none; its caption wins if a rewrite was asked for."""
    language = sheet.language if request.use_cot_language else None
    request = _fill(request, replace(sheet, language=language, lyrics=None))
    return replace(request, caption=sheet.caption) if request.use_cot_caption and sheet.caption else request


def merge_format(request: SongRequest, sheet: Sheet) -> SongRequest:
    """The LM's caption; lyrics and metadata are the user's where there are any."""
    return replace(_fill(request, sheet), caption=sheet.caption or request.caption)


def merge_sample(request: SongRequest, sheet: Sheet, duration_max: int) -> SongRequest:
    """The user's caption too wins over a sample's; what neither says is the reference's default."""
    request = _fill(_fill(request, sheet), replace(SAMPLE, duration=min(120, duration_max)))
    return request if request.caption.strip() else replace(request, caption=sheet.caption or request.sample_query)


def written(before: SongRequest, after: SongRequest) -> tuple[str, ...]:
    """Names of the metadata that a merge changed."""
    return tuple(name for name in _METADATA if getattr(before, name) != getattr(after, name))


def _is_complete(known: Sheet) -> bool:
    """Bpm, key, time signature and duration are all given."""
    return None not in (known.bpm, known.keyscale, known.timesignature, known.duration)


def _fill(request: SongRequest, sheet: Sheet) -> SongRequest:
    """The request with the sheet's values in its open places."""
    return replace(
        request,
        bpm=request.bpm if request.bpm is not None else sheet.bpm,
        key_scale=request.key_scale.strip() or sheet.keyscale or "",
        time_signature=request.time_signature or sheet.timesignature or "",
        duration=request.duration if request.duration is not None else sheet.duration,
        vocal_language=request.vocal_language or sheet.language,
        lyrics=request.lyrics if request.lyrics.strip() else sheet.lyrics or "",
    )


def _form(wanted: Sequence[str], known: Sheet, text: bool) -> Form:
    def value(name: str) -> str | None:
        found = getattr(known, name)
        return None if found is None else str(found)

    return Form(tuple((name, value(name)) for name in wanted), text)
