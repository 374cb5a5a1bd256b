"""What a song is made from besides its texts: uploads, audio codes, a region of the source, tracks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contract.tasks import TASKS, TASKS_OF_CODES
from frontend.audio.decode import FORMATS, MAX_SECONDS
from frontend.audio.pcm import SAMPLE_RATE
from frontend.errors import RequestError
from frontend.fields import Fields
from frontend.jobs.job import Upload
from frontend.metadata import DURATION_RANGE, SHORTEST

from .fields import FILES
from .multipart import not_uploaded

CODES_PER_SECOND = 5


@dataclass(frozen=True)
class Region:
    """Seconds of the source that are made anew; the end None is the source's end."""

    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True)
class Material:
    """`uploads` are those the song uses, by tensor; `codes` are empty, one list for all items or one for each."""

    codes: tuple[tuple[int, ...], ...]
    uploads: Mapping[str, Upload]
    region: Region
    tracks: tuple[str, ...]

    @property
    def follows_something(self) -> bool:
        """There is a source or codes, so the song needs no text."""
        return bool(self.codes) or "src_audio" in self.uploads


def choose_material(fields: Fields, body: Mapping[str, object], uploads: Mapping[str, Upload]) -> Material:
    """What the task uses of that which came. Errors: RequestError 400 for what it needs and lacks."""
    _refuse_texts(body)
    task = fields["task_type"]
    codes = _codes(fields)
    source = uploads.get("src_audio")
    if TASKS[task].needs_source and not codes and source is None:
        hint = ", or audio_code_string with thinking=true" if TASKS[task].follows_codes else ""
        raise RequestError(400, f"src_audio: is needed by {task}; upload {FORMATS}{hint}")
    region = _region(fields)
    used = dict(uploads)
    if source is not None and (codes or not TASKS[task].needs_source):
        del used["src_audio"]
    elif source is not None and TASKS[task].has_region:
        _check_region(fields, region, source.samples / SAMPLE_RATE)
    tracks = tuple(dict.fromkeys(fields["track_name"] + fields["track_classes"]))
    return Material(codes, used, region if TASKS[task].has_region else Region(), tracks)


def choose_source(
    asked_by: str | None, body: Mapping[str, object], uploads: Mapping[str, Upload]
) -> Material:
    """The material of an analysis: its source alone, or nothing.

    `asked_by` is the field that needs a source, None where none is needed. Errors: RequestError 400 when it is missing.
    """
    _refuse_texts(body)
    if asked_by is None:
        return Material((), {}, Region(), ())
    if "src_audio" not in uploads:
        raise RequestError(400, f"src_audio: is needed by {asked_by}; upload {FORMATS}")
    return Material((), {"src_audio": uploads["src_audio"]}, Region(), ())


def choose_length(fields: Fields, material: Material) -> float | None:
    """Seconds that the song is to have; None where something else decides. Errors: RequestError 400.

    A result may be shorter than any song that can be asked for, because its source or its codes are: its length may be
    sent back beside them.
    """
    seconds: float | None = fields["audio_duration"]
    if seconds is None or seconds >= SHORTEST:
        return seconds
    own = max(map(len, material.codes), default=0) / CODES_PER_SECOND
    if "src_audio" not in material.uploads and seconds != own:
        raise RequestError(400, f"{fields.called('audio_duration')}: {DURATION_RANGE}")
    return None


def _refuse_texts(body: Mapping[str, object]) -> None:
    for name in FILES:
        if body.get(name) not in (None, ""):
            raise not_uploaded(name)


def _codes(fields: Fields) -> tuple[tuple[int, ...], ...]:
    """The codes that the song follows: given ones count with thinking alone, as documented."""
    codes: tuple[tuple[int, ...], ...] = fields["audio_code_string"] if fields["thinking"] else ()
    name, task, count = fields.called("audio_code_string"), fields["task_type"], fields["batch_size"]
    if codes and not TASKS[task].follows_codes:
        raise RequestError(400, f"{name}: cannot be used with {task}; only with {' and '.join(TASKS_OF_CODES)}")
    if len(codes) not in (0, 1, count):
        raise RequestError(400, f"{name}: must be one text for all {count} items or one for each, not {len(codes)}")
    return codes


def _region(fields: Fields) -> Region:
    """The region that was asked for. 0 and -1 as the end both stand for the source's end, as in the reference."""
    start, end, name = fields["repainting_start"], fields["repainting_end"], fields.called("repainting_end")
    if end in (None, 0, -1):
        return Region(start)
    if end < 0:  # a song has no gap between what is made and its source
        raise RequestError(400, f"{name}: must be above 0, or 0 or -1 for the source's end")
    if end <= start:
        raise RequestError(400, f"{name}: must be -1 or above repainting_start")
    return Region(start, end)


def _check_region(fields: Fields, region: Region, seconds: float) -> None:
    """The rules of the pipeline's canvas, so that what it would refuse is not queued."""
    if region.start >= seconds:
        name = fields.called("repainting_start")
        raise RequestError(400, f"{name}: must be before the source's end, {seconds:g} seconds")
    total = max(0.0, -region.start) + max(seconds, region.end or 0.0)
    if total > MAX_SECONDS:
        name = fields.called("repainting_end" if (region.end or 0) > MAX_SECONDS else "repainting_start")
        raise RequestError(400, f"{name}: makes a song of {total:g} seconds; at most {MAX_SECONDS} are allowed")
