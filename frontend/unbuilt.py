"""Fields of upstream's later servers that are not built: what would change the song is refused, all else is named."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from . import coerce
from .coerce import Reader
from .fields import Field, Fields, Level, read_fields, spellings
from .unread import unread

_number = coerce.number(float("-inf"), float("inf"))


def only_neutral(
    name: str, read: Reader, neutral: object, shown: str, text: str, why: str = "is not built yet"
) -> Field:
    """A field that may have the neutral value alone, which errors call `shown`."""

    @coerce.takes(description=shown)
    def only(value: object) -> object:
        try:
            if read(value) == neutral:
                return neutral
        except ValueError:
            pass
        raise ValueError(f"{why}; only {shown} passes")

    return Field(spellings(name), only, neutral, nested=True, help=text)


def _thing(value: object) -> object:
    """False is nothing, and so is an empty object; null and blank text never reach a reader."""
    return None if value is False or value == {} else value


@coerce.takes(description="any value, as long as the other is not built")
def _anything(value: object) -> object:
    return value


def _detail(name: str, text: str) -> Field:
    """A field that says how another one works, and does nothing without it."""
    return Field(spellings(name), _anything, None, nested=True, help=text)


TABLE: tuple[Field, ...] = (
    only_neutral("retake_variance", _number, 0.0, "0", "mixes other noise in"),
    _detail("retake_seed", "which noise `retake_variance` mixes in"),
    only_neutral("flow_edit_morph", coerce.flag, False, "false", "morphs the source"),
    *(_detail(f"flow_edit_{name}", "how `flow_edit_morph` does it")
      for name in ("source_caption", "source_lyrics", "n_min", "n_max", "n_avg")),
    only_neutral("fade_in_duration", _number, 0.0, "0", "seconds that fade in"),
    only_neutral("fade_out_duration", _number, 0.0, "0", "seconds that fade out"),
    only_neutral("enable_normalization", coerce.flag, True, "true",
                 "a song peaks at -1 dBFS, unless samples of its source are kept"),
    only_neutral("normalization_db", _number, -1.0, "-1", "the peak in dBFS"),
    only_neutral("source_repaint_latents", _thing, None, "null", "what a repaint keeps, as latents"),
    only_neutral("lora_path", _thing, None, "null", "an adapter of the model"),
    _detail("lora_scale", "strength of `lora_path`"),
)
NAMES = frozenset(name for entry in TABLE for name in entry.names)


def read_built(
    table: Sequence[Field], levels: Sequence[Level], outside: Collection[str] | None = None,
    refused: Sequence[Field] = TABLE,
) -> Fields:
    """The fields of `table`, with the names of the `refused` ones that are neutral and so change nothing.

    With `outside`, the names of the first level that others read, also with lines about all that nobody reads.
    Errors: RequestError 400 naming the first refused field that would change the song, or as `read_fields`.
    """
    unbuilt = tuple(read_fields(refused, levels).sent.values())
    notes = () if outside is None else tuple(unread(table, levels, outside, NAMES))
    return replace(read_fields(table, levels), unbuilt=unbuilt, notes=notes)
