"""POST /format_input: from its fields to the text that is asked of the LM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from frontend.catalogue import Catalogue
from frontend.defaults import Defaults
from frontend.jobs.job import Work
from frontend.uploads import Files

from .seeds import draw_seed
from .submission import work_of
from .task_fields import TASK_TABLE, read_task

# Of a song's fields those that a text has too.
FIELDS = (
    "caption", "lyrics", "instrumental", "bpm", "key_scale", "time_signature", "audio_duration", "vocal_language",
    "lm_model_path", "lm_backend", "lm_temperature", "lm_top_k", "lm_top_p", "lm_repetition_penalty",
    "constrained_decoding",
)


def format_work(body: Mapping[str, object], catalogue: Catalogue, defaults: Defaults) -> Work:
    """A song's request whose words the LM is to improve, whatever else `body` asks for; its notes are of that text.

    Errors: RequestError 400.
    """
    read = read_task(body)
    values = {entry.name: entry.default for entry in TASK_TABLE} | {name: read[name] for name in FIELDS} | {
        "use_format": True, "batch_size": 1}
    fields = replace(read, values=values, sent={name: read.sent[name] for name in FIELDS if name in read.sent})
    work = work_of(fields, body, catalogue, Files(), draw_seed, defaults)
    rest = [called for name, called in read.sent.items()
            if name not in FIELDS and not (name == "use_format" and read["use_format"])]
    return replace(work, notes=(
        *work.notes, *([f"not used, because no song is made: {', '.join(rest)}"] if rest else [])))
