"""From a chat request to the work of a job, by way of the native API's rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from contract.tasks import TASKS, LmPart
from frontend import coerce, musicality
from frontend.catalogue import Catalogue
from frontend.defaults import OURS, Defaults
from frontend.errors import RequestError
from frontend.fields import Fields
from frontend.jobs.job import Work
from frontend.native.fields import TABLE as NATIVE
from frontend.native.lm import NEEDS_LM
from frontend.native.seeds import Draw, draw_seed
from frontend.native.submission import asked_of
from frontend.native.usage import changed, unused
from frontend.uploads import Files

from .fields import NATIVE_NAMES, TABLE
from .messages import NO_INPUT, Wish, understand

# What the native API says in another way: the pipeline's request takes it as it is here.
_NOT_NATIVE = frozenset({"model", "stream", "n", "instrumental", "use_format", "use_cot_metas", "lyrics"})
_LIMITS = {"prompt": 2000, "lyrics": 8000, "query": 2000}


def read_wish(fields: Fields, text: str) -> Wish:
    """What the deciding message asks for. Errors: RequestError 400 for nothing, and for texts that are too long."""
    wish = understand(text, fields["lyrics"], as_query=fields["sample_mode"])
    task = fields["task_type"]
    if TASKS[task].lm is LmPart.NOTHING or (TASKS[task].needs_source and not fields["sample_mode"]):
        # A song that follows a source is not invented: the text says what to make of it.
        wish = replace(wish, prompt=wish.prompt or wish.query, query="")
    for part, limit in _LIMITS.items():
        try:
            coerce.text(limit)(getattr(wish, part))
        except ValueError as error:
            raise RequestError(400, f"messages: the {part} {error}") from None
    return wish


def chat_work(
    fields: Fields, wish: Wish, files: Files, catalogue: Catalogue, draw: Draw = draw_seed,
    defaults: Defaults = OURS, unread: Iterable[str] = (),
) -> Work:
    """The work that fields, message and its audio ask for; `unread` are notes on what is in none of them.

    Errors: RequestError 400 naming what cannot be served.
    """
    said = wish.prompt or wish.lyrics or wish.query
    codes, task = fields["audio_code_string"] if fields["thinking"] else (), fields["task_type"]
    # A reference alone is a timbre, not yet a song.
    if not (said or "src_audio" in files.uploads or codes or fields["sample_mode"]):
        raise RequestError(400, NO_INPUT)
    if catalogue.lm is None and fields["sample_mode"] and TASKS[task].lm is not LmPart.NOTHING:
        raise RequestError(400, f"{fields.called('sample_mode')}: {NEEDS_LM}")
    if catalogue.lm is None and wish.query:
        raise RequestError(400, f"messages: natural language {NEEDS_LM}; use <prompt> and <lyrics> tags")
    if TASKS[task].needs_source and "src_audio" not in files.uploads and not codes:
        raise RequestError(400, f"messages: {task} needs the song that it follows, as input_audio")
    asked = asked_of(_native_fields(fields, wish, catalogue), {}, catalogue, files, draw, defaults)
    # The default asks for a better text where an LM is there: a song is never refused or held up for want of one. Of a
    # song that follows a source the LM writes no other words unless it is asked to.
    part = TASKS[task].lm
    improves = fields["use_format"] and (
        part is LmPart.CODES or (part is LmPart.METADATA and "use_format" in fields.sent))
    own = {
        "instrumental": is_instrumental(fields, wish, asked.song["instrumental"]),
        "use_format": "try" if improves else "off", "use_cot_metas": fields["use_cot_metas"],
    }
    sent = changed(TABLE, defaults.fill(fields), defaults)
    names = {NATIVE_NAMES.get(name, name): called for name, called in sent.items()}
    asked = replace(asked, names=names, song={**asked.song, **own})
    notes = (*unused(asked), *unread)
    return Work(asked.song, fields["audio_format"], notes, asked.uploads, api="chat")


def is_instrumental(fields: Fields, wish: Wish, is_hinted: bool = False) -> bool:
    """Asked for, or lyrics that say so; or, while the client says nothing of voices, a query that hints at it and a
    song's tagged prompt alone.
    """
    if fields["instrumental"] or musicality.is_instrumental(wish.lyrics):
        return True
    is_prompt_alone = wish.is_tagged and not wish.query and not wish.lyrics and fields["task_type"] == "text2music"
    return "instrumental" not in fields.sent and (is_hinted or is_prompt_alone)


def _native_fields(fields: Fields, wish: Wish, catalogue: Catalogue) -> Fields:
    """The fields of a native request for the same song; errors still name what the client sent."""
    names = {name: NATIVE_NAMES.get(name, name) for name in fields.values if name not in _NOT_NATIVE}
    values = {entry.name: entry.default for entry in NATIVE}
    values |= {native: fields[name] for name, native in names.items()}
    values["batch_size"] = max(fields["n"], fields["batch_size"])  # one job, whatever its songs are told apart by
    model = catalogue.find(fields["model"].rsplit("/", 1)[-1]) or catalogue.find(None)
    texts: dict[str, Any] = {"caption": wish.prompt, "lyrics": wish.lyrics, "sample_query": wish.query}
    values |= texts | {"model": None if model is None else model.name, "use_random_seed": "seed" not in fields.sent}
    sent = {native: fields.sent[name] for name, native in names.items() if name in fields.sent}
    if fields["n"] > 1:
        sent["batch_size"] = fields.called("n")
    return Fields(values, sent | {name: "messages" for name, text in texts.items() if text}, fields.unbuilt,
                  fields.notes)
