"""Fields of upstream's later servers that are not built: what would change the song is refused, all else passes."""

from __future__ import annotations

from collections.abc import Sequence

from . import coerce
from .coerce import Reader
from .fields import Field, Level, read_fields, spellings

_number = coerce.number(float("-inf"), float("inf"))


def _field(name: str, read: Reader, neutral: object, shown: str, text: str) -> Field:
    """A field that may have the neutral value alone, which errors call `shown`."""

    @coerce.takes(description=shown)
    def only(value: object) -> object:
        try:
            if read(value) == neutral:
                return neutral
        except ValueError:
            pass
        raise ValueError(f"is not built yet; only {shown} passes")

    return Field(spellings(name), only, neutral, nested=True, help=text)


def _nothing(value: object) -> object:
    """What is sent at all is something: null and blank text never reach a reader."""
    return value


TABLE: tuple[Field, ...] = (
    _field("retake_variance", _number, 0.0, "0", "mixes other noise in; `retake_seed` says which"),
    _field("flow_edit_morph", coerce.flag, False, "false", "morphs the source; all other `flow_edit_*` say how"),
    _field("fade_in_duration", _number, 0.0, "0", "seconds that fade in"),
    _field("fade_out_duration", _number, 0.0, "0", "seconds that fade out"),
    _field("enable_normalization", coerce.flag, True, "true", "songs always peak at -1 dBFS, but for a repaint"),
    _field("normalization_db", _number, -1.0, "-1", "the peak in dBFS"),
    _field("source_repaint_latents", _nothing, None, "null", "what a repaint keeps, as latents"),
    _field("analysis_only", coerce.flag, False, "false", "metadata of the source instead of a song"),
    _field("full_analysis_only", coerce.flag, False, "false", "the same with lyrics"),
    _field("extract_codes_only", coerce.flag, False, "false", "audio codes of the source instead of a song"),
    _field("lora_path", _nothing, None, "null", "an adapter of the model"),
)
NAMES = frozenset(name for entry in TABLE for name in entry.names)


def refuse_unbuilt(levels: Sequence[Level]) -> None:
    """Errors: RequestError 400 naming the first field of TABLE that would change the song."""
    read_fields(TABLE, levels)
