"""What the pipeline says while it makes a song."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Planning:
    """What the LM writes, as it writes it: `text` continues what came before."""

    text: str


@dataclass(frozen=True)
class Metadata:
    """Once for each song: the caption, lyrics and musical metadata that the models see."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """`done` of `total` in a phase: plan, codes, encode, condition, denoise, decode."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Codes:
    """The 5 Hz audio codes that an item follows; one list for all items comes once, for the first."""

    item: int
    codes: tuple[int, ...]


@dataclass(frozen=True)
class Audio:
    """Samples of one item before gain: `pcm` float32 [2, n] at 48 kHz, beginning at sample `offset`."""

    item: int
    offset: int
    pcm: npt.NDArray[np.float32]


@dataclass(frozen=True)
class LmUse:
    """What the LM did for a song: who wrote which metadata, on which engine, and the tokens it took."""

    name: str
    engine: str
    wrote: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Done:
    """Last event: what was made and how; `peaks` is the largest |sample| of each item, before gain.

    With `keeps_level` the level is a source's and must not be raised. `lm` is None when the LM had no part in it.
    """

    model: str
    seeds: tuple[int, ...]
    duration: float
    schedule: tuple[float, ...]
    peaks: tuple[float, ...]
    timings: Mapping[str, float]
    notes: tuple[str, ...]
    metadata: Mapping[str, Any]
    keeps_level: bool = False
    lm: LmUse | None = None


@dataclass(frozen=True)
class Findings:
    """Last event of a request that makes no song: what the LM says, and of a source the model that heard it.

    `metadata` has what is known; of audio codes alone that is the source's `duration`.
    """

    model: str | None
    seeds: tuple[int, ...]
    timings: Mapping[str, float]
    notes: tuple[str, ...]
    metadata: Mapping[str, Any]
    lm: LmUse | None = None


SongEvent = Planning | Metadata | Step | Codes | Audio | Done | Findings


def parse(text: bytes, pcm: npt.NDArray[np.float32] | None) -> SongEvent | None:
    """The event of one response; None for types this frontend has no use for."""
    event = json.loads(text)
    match event["type"]:
        case "planning":
            return Planning(event["text"])
        case "metadata":
            return Metadata({name: value for name, value in event.items() if name != "type"})
        case "progress":
            return Step(event["phase"], event["done"], event["total"])
        case "codes":
            return Codes(event["item"], tuple(event["codes"]))
        case "audio":
            if pcm is None:
                raise ValueError("an audio event without pcm")
            return Audio(event["item"], event["offset"], pcm)
        case "done" if "peaks" not in event:
            return Findings(
                model=event.get("model"), seeds=tuple(event["seeds"]), timings=event["timings"],
                notes=tuple(event["notes"]), metadata=event["metadata"], lm=_lm_use(event.get("lm")),
            )
        case "done":
            return Done(
                model=event["model"], seeds=tuple(event["seeds"]), duration=event["duration"],
                schedule=tuple(event["schedule"]), peaks=tuple(event["peaks"]), timings=event["timings"],
                notes=tuple(event["notes"]), metadata=event["metadata"],
                keeps_level=event.get("keeps_level", False), lm=_lm_use(event.get("lm")),
            )
    return None


def _lm_use(event: Mapping[str, Any] | None) -> LmUse | None:
    if event is None:
        return None
    return LmUse(event["name"], event["engine"], tuple(event["wrote"]), event["prompt_tokens"],
                 event["completion_tokens"])
