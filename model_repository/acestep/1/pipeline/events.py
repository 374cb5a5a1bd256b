"""What a song tells while it is made: typed events, as JSON text plus at most one tensor."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .prompts import Metadata

Tensor = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Described:
    """The song's metadata; before any audio, and once."""

    type: ClassVar[str] = "metadata"
    metadata: Metadata

    def fields(self) -> dict[str, Any]:
        return asdict(self.metadata)


@dataclass(frozen=True)
class Progress:
    """`done` of `total` parts of a phase (plan, codes, encode, condition, denoise, decode) are through."""

    type: ClassVar[str] = "progress"
    phase: str
    done: int
    total: int

    def fields(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Planning:
    """More of what the LM writes about the song."""

    type: ClassVar[str] = "planning"
    text: str

    def fields(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class LmCodes:
    """An item's audio codes; only if asked for."""

    type: ClassVar[str] = "codes"
    item: int
    codes: tuple[int, ...]

    def fields(self) -> dict[str, Any]:
        # `asdict` would copy thousands of numbers one by one, on the loop that all songs share.
        return {"item": self.item, "codes": self.codes}


@dataclass(frozen=True)
class LmUse:
    """What the LM did: which engine, the metadata it wrote, tokens of all its prompts and answers."""

    name: str
    engine: str
    wrote: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Latents:
    """An item's finished latents, float32 [frames, 64]; only if asked for."""

    type: ClassVar[str] = "latents"
    item: int
    latents: Tensor

    def fields(self) -> dict[str, Any]:
        return {"item": self.item}


@dataclass(frozen=True)
class Audio:
    """The next samples of an item, float32 [2, n] at 48 kHz before gain; `offset` continues the item's last event."""

    type: ClassVar[str] = "audio"
    item: int
    offset: int
    pcm: Tensor

    def fields(self) -> dict[str, Any]:
        return {"item": self.item, "offset": self.offset, "samples": self.pcm.shape[1]}


@dataclass(frozen=True)
class Done:
    """The end; carries what the caller needs to reproduce and to write the files.

    Peaks are per item, before gain; with `keeps_level` the level is a source's and must not be raised.
    """

    type: ClassVar[str] = "done"
    model: str
    seeds: tuple[int, ...]
    duration: float
    schedule: tuple[float, ...]
    peaks: tuple[float, ...]
    timings: dict[str, float]
    metadata: Metadata
    keeps_level: bool = False
    notes: tuple[str, ...] = field(default=())
    lm: LmUse | None = None

    def fields(self) -> dict[str, Any]:
        return asdict(self) | {"steps": len(self.schedule)}


@dataclass(frozen=True)
class Answer:
    """The one `done` of a request that makes no song (describe, ping, texts of the LM)."""

    type: ClassVar[str] = "done"
    body: dict[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        return self.body


Event = Described | Progress | Planning | LmCodes | Latents | Audio | Done | Answer


def to_json(event: Event) -> bytes:
    """The event's JSON text, its type first."""
    return json.dumps({"type": event.type, **event.fields()}, ensure_ascii=False).encode()
