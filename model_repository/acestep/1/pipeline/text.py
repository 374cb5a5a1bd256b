"""What is asked for beside songs: the audio codes of a source, and texts of the LM alone."""

import asyncio
import secrets
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from .errors import invalid
from .events import Answer, LmCodes, Progress
from .length import SAMPLE_RATE
from .lm.compose import Audience, compose
from .material import Listener, Uploads
from .plan import plan_song
from .request import SongRequest
from .song import Caller, Studio


@dataclass(frozen=True)
class _Source:
    """Source audio as a cover would hear it: its audio codes by the tokenizer of `model`, and its length in seconds."""

    codes: tuple[int, ...]
    model: str
    seconds: float
    encode_seconds: float
    notes: tuple[str, ...]


async def write_text(request: SongRequest, studio: Studio, caller: Caller, uploads: Uploads) -> Answer:
    """What the request asks for; the same keys as a song's `done`, and before it the codes if they are wanted.

    Errors: SongError.
    """
    # One seed for both: how a source is heard, and what the LM writes of it.
    request = replace(request, seeds=tuple(secrets.randbits(32) if seed == -1 else seed for seed in request.seeds[:1]))
    has_words = request.caption.strip() or request.lyrics.strip()
    if request.kind in ("format", "metadata") and not has_words:
        raise invalid("caption", f"give a caption or lyrics for {request.kind}; both are empty")
    source = None
    if request.kind == "codes" or (request.kind == "understand" and request.codes is None):
        source = await _hear(request, studio, caller, uploads)
        request = replace(request, codes=(source.codes,))
    if request.codes is not None and (request.kind == "codes" or "codes" in request.wanted):
        await caller.send(LmCodes(0, request.codes[0]))
    answer = {} if request.kind == "codes" else await _write(request, studio, caller)
    return Answer(answer if source is None else _of_source(source, request, answer))


async def _write(request: SongRequest, studio: Studio, caller: Caller) -> dict[str, Any]:
    """What the LM makes of the request."""
    composition = await compose(request, studio.lm, Audience(caller.report, caller.check), None)
    written = composition.request
    return {
        "metadata": {
            "caption": written.caption, "lyrics": written.lyrics, "vocal_language": written.vocal_language,
            "bpm": written.bpm, "key_scale": written.key_scale, "time_signature": written.time_signature,
            "duration": written.duration, "genres": composition.genres,
        },
        "lm": None if composition.use is None else asdict(composition.use),
        "seeds": list(request.seeds),
        "timings": {"plan": composition.plan_seconds},
        "notes": list(composition.notes),
    }


def _of_source(source: _Source, request: SongRequest, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer about a source, whose length is known better than the LM can tell."""
    use = answer.get("lm")
    return {
        "metadata": answer.get("metadata", {}) | {"duration": source.seconds},
        "lm": None if use is None else use | {"wrote": [name for name in use["wrote"] if name != "duration"]},
        "seeds": list(request.seeds),
        "timings": {"encode": source.encode_seconds} | answer.get("timings", {}),
        "notes": [*source.notes, *answer.get("notes", ())],
        "model": source.model,
    }


async def _hear(request: SongRequest, studio: Studio, caller: Caller, uploads: Uploads) -> _Source:
    """The source audio, as a cover would follow it."""
    audio = uploads.source
    if audio is None or not audio.shape[1]:
        field, other = ("src_audio", "") if request.kind == "codes" else ("codes", ", or src_audio")
        raise invalid(field, f"is needed by {request.kind}{other}")
    begin = time.perf_counter()
    cover = replace(request, kind="song", task="cover", codes=None)
    plan = await asyncio.to_thread(plan_song, cover, studio.served, studio.tokenizer, uploads.heard)
    listener = Listener(plan, studio.models, studio.served)
    await listener.listen(uploads)
    caller.check()
    codes = tuple(int(code) for code in await listener.codes())
    caller.report(Progress("encode", 1, 1))
    return _Source(
        codes, plan.dit.name, audio.shape[1] / SAMPLE_RATE, time.perf_counter() - begin,
        ("the source audio is silent",) if plan.source_is_silent else ())
