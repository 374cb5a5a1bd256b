"""Texts without a song: what the LM makes of codes or audio, of a wish, of a caption and lyrics."""

from dataclasses import asdict, replace

from .errors import invalid
from .events import Answer
from .lm.compose import Audience, compose
from .material import Listener, Uploads
from .plan import plan_song
from .request import SongRequest
from .song import Caller, Studio


async def write_text(request: SongRequest, studio: Studio, caller: Caller, uploads: Uploads) -> Answer:
    """Metadata and lyrics as the LM writes them; the same keys as a song's `done`. Errors: SongError."""
    if request.kind == "understand" and request.codes is None:
        request = replace(request, codes=(await _hear(request, studio, uploads),))
    if request.kind == "format" and not (request.caption.strip() or request.lyrics.strip()):
        raise invalid("caption", "give a caption or lyrics to format; both are empty")
    composition = await compose(request, studio.lm, Audience(caller.report, caller.check), None)
    written = composition.request
    return Answer({
        "metadata": {
            "caption": written.caption, "lyrics": written.lyrics, "vocal_language": written.vocal_language,
            "bpm": written.bpm, "key_scale": written.key_scale, "time_signature": written.time_signature,
            "duration": written.duration, "genres": composition.genres,
        },
        "lm": None if composition.use is None else asdict(composition.use),
        "seeds": list(written.seeds[:1]),
        "timings": {"plan": composition.plan_seconds},
        "notes": list(composition.notes),
    })


async def _hear(request: SongRequest, studio: Studio, uploads: Uploads) -> tuple[int, ...]:
    """The codes of the source audio, as a cover would follow them."""
    if uploads.source is None or not uploads.source.shape[1]:
        raise invalid("codes", "is needed by understand, or src_audio")
    cover = replace(request, kind="song", task="cover")
    plan = plan_song(cover, studio.served, studio.tokenizer, uploads.heard)
    listener = Listener(plan, studio.models, studio.served)
    await listener.listen(uploads)
    return tuple(int(code) for code in await listener.codes())
