"""Analyses: what a job may be instead of a song, asked for as upstream's later servers have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from frontend.catalogue import Lm
from frontend.errors import RequestError
from frontend.fields import Fields

from .fields import TABLE
from .lm import NEEDS_LM

ASKING = ("extract_codes_only", "full_analysis_only", "analysis_only")
_SEED = ("seed", "use_random_seed")
_SOURCE = (*ASKING, *_SEED, "model", "src_audio", "src_audio_path")
_ENGINE = ("lm_model_path", "lm_backend")


@dataclass(frozen=True)
class Analysis:
    """One kind: the `field` that asks for it and the `kind` of the pipeline's request, with its `request`'s own values.

    `uses` are the fields and files that it uses; `status_message` is upstream's, which its clients compare; `title`
    begins `generation_info`.
    """

    field: str
    kind: str
    needs_source: bool
    needs_lm: bool
    uses: tuple[str, ...]
    request: Mapping[str, Any]
    status_message: str
    title: str


# The first one that is asked for is made. Upstream listens to a source at temperature 0.3, without top-k and top-p, and
# writes every analysis in form.
ANALYSES = (
    Analysis("extract_codes_only", "codes", True, False, _SOURCE, {},
             "Audio Codes Extraction Success", "🔎 Extracted audio codes"),
    Analysis("full_analysis_only", "understand", True, True, (*_SOURCE, *_ENGINE),
             {"lm_temperature": 0.3, "lm_top_p": 1.0}, "Full Hardware Analysis Success", "🔎 Full analysis complete"),
    Analysis("analysis_only", "metadata", False, True,
             (*ASKING, *_SEED, *_ENGINE, "caption", "lyrics", "instrumental", "lm_temperature", "lm_top_k", "lm_top_p",
              "lm_repetition_penalty", "use_cot_caption", "use_cot_language"),
             {}, "Success", "Analysis Only Mode Complete"),
)
_BY_KIND = {analysis.kind: analysis for analysis in ANALYSES}


def analysis_of(song: Mapping[str, Any]) -> Analysis | None:
    """What a request of the pipeline's analyses; None when it makes a song."""
    return _BY_KIND.get(song.get("kind", ""))


def asked_for(fields: Fields, lm: Lm | None) -> Analysis | None:
    """The analysis that a client wants instead of a song. Errors: RequestError 400 where it needs an LM and none is."""
    analysis = next((analysis for analysis in ANALYSES if fields[analysis.field]), None)
    if analysis is not None and analysis.needs_lm and lm is None:
        raise RequestError(400, f"{fields.called(analysis.field)}: {NEEDS_LM}")
    return analysis


def narrowed(fields: Fields, analysis: Analysis) -> Fields:
    """`fields` as if the client had sent only those that the analysis uses, and had asked for one result."""
    values = {entry.name: entry.default for entry in TABLE} | {"batch_size": 1}
    used = {name: fields[name] for name in analysis.uses if name in values}
    return replace(
        fields, values=values | used, sent={name: sent for name, sent in fields.sent.items() if name in used})
