"""Jobs as the native API shows them: ten documented keys in the document's order, then ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from frontend.code_text import code_texts
from frontend.jobs.job import Job, Progress, State
from frontend.progress import percent

from .analysis import Analysis, analysis_of

# What upstream calls the model of an analysis that uses none.
_NO_MODEL = "None (Analysis Only)"


def record(job: Job, average_seconds: float, in_flight: int) -> dict[str, Any]:
    """The body of GET /v1/jobs/{id}; `in_flight` songs run at a time, so that many places of the queue wait as one."""
    queued = job.state is State.QUEUED
    return {
        "job_id": job.id,
        "status": str(job.state),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "queue_position": job.position,
        "eta_seconds": math.ceil(job.position / max(1, in_flight)) * average_seconds if queued else None,
        "avg_job_seconds": average_seconds,
        "result": None if job.result is None else result(job, job.result),
        "error": job.error,
        "error_code": job.error_code,
        "progress": _progress(job),
    }


def progress_shown(job: Job, progress: Progress) -> dict[str, Any]:
    """Where a running job is: its phase, how much of it is done, and how much of the whole song."""
    return {
        "phase": progress.phase, "done": progress.done, "total": progress.total,
        "percent": percent(job.work.song, progress),
    }


def result(job: Job, song: Mapping[str, Any]) -> dict[str, Any]:
    """The `result` object of a job that succeeded, keys in the document's order; an analysis has some of its own."""
    metadata, analysis = song["metadata"], analysis_of(job.work.song)
    seconds = None if song["duration"] is None else _tidy(song["duration"])
    urls = [f"/v1/audio?path={quote(path, safe='')}" for path in song["audio"]]
    known = {
        "bpm": metadata.get("bpm"), "duration": seconds,
        "keyscale": metadata.get("key_scale") or None, "timesignature": metadata.get("time_signature") or None,
        "genres": metadata.get("genres") or None,
    }
    metas = {name: "N/A" if known[name] is None else known[name]
             for name in ("bpm", "duration", "genres", "keyscale", "timesignature")}
    # The language is not of the documents, but the LM may have chosen it, and without it a song is not made again.
    metas |= {name: metadata[name] for name in ("caption", "lyrics", "vocal_language") if metadata.get(name)}
    shown = {
        "first_audio_path": urls[0] if urls else None,
        "second_audio_path": urls[1] if len(urls) > 1 else None,
        "audio_paths": urls,
        "generation_info": generation_info(job, song) if analysis is None else _analysis_info(job, song, analysis),
        "status_message": "✅ Generation completed successfully!" if analysis is None else analysis.status_message,
        "seed_value": _seeds(song),
        "metas": metas,
        **known,
        "lm_model": song.get("lm_model"),
        "dit_model": song["model"] or _NO_MODEL,
        "audio_codes": code_texts(song),
    }
    return shown if analysis is None or not analysis.needs_lm else shown | _told(metadata)


def found(job: Job, song: Mapping[str, Any], analysis: Analysis) -> dict[str, Any]:
    """What upstream's clients read of an analysis of a source: its keys in its order, the codes as one text."""
    shown = result(job, song)
    head: dict[str, Any] = {"status_message": shown["status_message"]}
    metas: dict[str, Any] = {}
    if analysis.needs_lm:
        told = _told(song["metadata"])
        names = {"bpm": "bpm", "caption": "prompt", "duration": "duration", "genres": "genre", "keyscale": "keyscale",
                 "language": "language", "timesignature": "timesignature", "lyrics": "lyrics"}
        head |= {name: shown[name] for name in ("bpm", "keyscale", "timesignature", "duration")}
        head |= {name: told[name] for name in ("genre", "prompt", "lyrics", "language")}
        metas = {name: head[key] for name, key in names.items() if head[key] not in (None, "")}
    [codes] = shown["audio_codes"]
    return head | {"metas": metas, "audio_codes": codes, "audio_paths": [], "raw_audio_paths": [],
                   "first_audio_path": None}


def _told(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the LM says of a song, by upstream's names."""
    return {
        "prompt": metadata.get("caption") or "", "lyrics": metadata.get("lyrics") or "",
        "genre": metadata.get("genres") or None, "language": metadata.get("vocal_language") or "unknown",
    }


def generation_info(job: Job, song: Mapping[str, Any]) -> str:
    """The document's three lines (count, total time, seeds), then what else is worth knowing of this song."""
    count = len(song["audio"])
    total = (job.finished_at or 0.0) - (job.started_at or 0.0)
    schedule = ", ".join(f"{t:.4g}" for t in song["schedule"])
    timings = song["timings"]
    phases = [name for name in ("plan", "codes") if timings.get(name, 0.0) >= 0.05]  # would not show as 0.0s
    phases += ["condition", "denoise", "decode"]
    parts = ", ".join(f"{name} {timings[name]:.1f}s" for name in phases)
    return "\n".join((
        f"🎵 Generated {count} audio{'s' if count > 1 else ''}",
        f"⏱️ Total: {total:.1f}s",
        f"🎲 Seeds: {_seeds(song)}",
        f"Model: {song['model']}",
        *_lm_lines(job, song),
        f"Schedule: {schedule}",
        f"Time: {parts}",
        *job.work.notes,
        *song["notes"],
    ))


def _analysis_info(job: Job, song: Mapping[str, Any], analysis: Analysis) -> str:
    """What is worth knowing of an analysis, in the form of a song's lines."""
    total = (job.finished_at or 0.0) - (job.started_at or 0.0)
    parts = ", ".join(f"{name} {seconds:.1f}s" for name, seconds in song["timings"].items())
    return "\n".join((
        analysis.title,
        f"⏱️ Total: {total:.1f}s",
        f"🎲 Seeds: {_seeds(song)}",
        *(() if song["model"] is None else (f"Model: {song['model']}",)),
        *_lm_lines(job, song),
        f"Time: {parts}",
        *job.work.notes,
        *song["notes"],
    ))


def _lm_lines(job: Job, song: Mapping[str, Any]) -> tuple[str, ...]:
    """What the LM did; results that were stored before there was an LM say nothing of it."""
    lm = song.get("lm")
    if lm is None:
        return ()
    wrote = [*lm["wrote"], *(["audio codes"] if job.work.song["thinking"] else [])]
    return (f"LM: {lm['name']} on {lm['engine']}, {lm['prompt_tokens']} tokens read, {lm['completion_tokens']} written",
            f"LM wrote: {', '.join(wrote) or 'nothing that was missing'}")


def _seeds(song: Mapping[str, Any]) -> str:
    return ",".join(str(seed) for seed in song["seeds"])


def _tidy(seconds: float) -> float | int:
    """30 rather than 30.0, as the document shows it."""
    return int(seconds) if float(seconds).is_integer() else seconds


def _progress(job: Job) -> dict[str, Any] | None:
    return None if job.state is not State.RUNNING or job.progress is None else progress_shown(job, job.progress)
