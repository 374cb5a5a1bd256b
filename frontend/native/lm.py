"""What a request asks of the 5 Hz LM: whether the song needs it, which engine runs it, how it is to write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contract.tasks import TASKS, LmPart
from frontend import musicality
from frontend.catalogue import Lm
from frontend.errors import RequestError
from frontend.fields import Fields

from .hints import Hints, hints
from .material import Material

NEEDS_LM = "needs the 5 Hz LM, which is not loaded (LM=none)"
_WRITES_THE_SONG = ("sample_query", "sample_mode", "use_format")
# No vocabulary has more tokens, so a larger top-k leaves all of them in as well.
_MOST_TOKENS = 1_000_000


@dataclass(frozen=True)
class LmWork:
    """The LM's part of a song: fields of the pipeline's request."""

    request: dict[str, Any]

    @property
    def writes_the_song(self) -> bool:
        """The LM invents caption and lyrics, so the request needs none."""
        return bool(self.request["sample_query"] or self.request["sample_mode"])


def needs_lm(song: Mapping[str, Any]) -> bool:
    """Whether a song request of the pipeline's cannot be served without the LM (docs/behaviour.md)."""
    part = TASKS[song["task"]].lm
    if part is LmPart.NOTHING:
        return False
    wants_codes = song["thinking"] and part is LmPart.CODES and song["codes"] is None
    return bool(wants_codes or song["sample_query"] or song["sample_mode"] or song["use_format"] == "need")


def choose_lm_work(fields: Fields, material: Material, lm: Lm | None) -> LmWork:
    """The LM's part. Errors: RequestError 400 naming the field that needs an LM or an engine that is not loaded."""
    needed = list(_needed(fields, material))
    if needed and lm is None:
        raise RequestError(400, f"{fields.called(needed[0])}: {NEEDS_LM}")
    _check_name(fields, lm)
    query = fields["sample_query"] if "sample_query" in needed else ""
    said = hints(query)
    return LmWork(
        {
            "vocal_language": _language(fields, said) if query else _sent_language(fields),
            "instrumental": _is_instrumental(fields, said),
            "thinking": "thinking" in needed, "sample_query": query, "sample_mode": "sample_mode" in needed,
            "use_format": "need" if "use_format" in needed else "off",
            # The native API has no field for it: what is missing is always filled in, as documented.
            "use_cot_metas": True,
            "use_cot_caption": fields["use_cot_caption"], "use_cot_language": fields["use_cot_language"],
            "constrained_decoding": fields["constrained_decoding"],
            "lm_engine": _engine(fields, lm),
            "lm_temperature": fields["lm_temperature"], "lm_cfg_scale": fields["lm_cfg_scale"],
            "lm_top_k": min(fields["lm_top_k"] or 0, _MOST_TOKENS), "lm_top_p": fields["lm_top_p"],
            "lm_repetition_penalty": fields["lm_repetition_penalty"],
            "lm_negative_prompt": fields["lm_negative_prompt"],
        },
    )


def _is_instrumental(fields: Fields, said: Hints) -> bool:
    """Asked for, or lyrics that say so; or a wish without lyrics, while the client says nothing of voices."""
    if fields["instrumental"] or musicality.is_instrumental(fields["lyrics"]):
        return True
    return "instrumental" not in fields.sent and said.instrumental and not fields["lyrics"].strip()


def _needed(fields: Fields, material: Material) -> Iterator[str]:
    """The fields that the song cannot do without the LM, as docs/behaviour.md has them."""
    part = TASKS[fields["task_type"]].lm
    if fields["thinking"] and part is LmPart.CODES and not material.codes:
        yield "thinking"
    if part is not LmPart.NOTHING:
        yield from (name for name in _WRITES_THE_SONG if fields[name])


def _check_name(fields: Fields, lm: Lm | None) -> None:
    """The LM is chosen when the server starts; a name is only ever compared."""
    name, called = fields["lm_model_path"], fields.called("lm_model_path")
    if name and lm is None:
        raise RequestError(400, f"{called}: {NEEDS_LM}")
    if name and lm is not None and name not in (lm.name, *lm.aliases):
        raise RequestError(400, f"{called}: must be {lm.name}, the LM that is loaded")


def _engine(fields: Fields, lm: Lm | None) -> str | None:
    """The engine that was asked for, else the default one; None without an LM."""
    asked, called = fields["lm_backend"] if "lm_backend" in fields.sent else None, fields.called("lm_backend")
    if lm is None:
        # The documented default asks for nothing.
        if asked == "pt":
            raise RequestError(400, f"{called}: {NEEDS_LM}")
        return None
    if asked is not None and asked not in lm.engines:
        raise RequestError(400, f"{called}: must be {' or '.join(lm.engines)}; {asked} is not loaded")
    return asked or lm.engines[0]


def _sent_language(fields: Fields) -> str | None:
    """None when the client named no language: the LM may choose one, and without it the document's default holds."""
    return fields["vocal_language"] if "vocal_language" in fields.sent else None


def _language(fields: Fields, said: Hints) -> str | None:
    """The language of a song that is asked for in plain words.

    Clients send `en` and `unknown` without meaning them, so a language that the words name comes before these.
    """
    sent = _sent_language(fields)
    if sent not in (None, "en", "unknown"):
        return sent
    return said.language or (None if sent == "unknown" else sent)
