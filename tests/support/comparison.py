"""One song by the pipeline and by the second oracle, and how far they are apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.request import SCHEMA
from tests.support.cases import Case
from tests.support.graphs import Graphs
from tests.support.in_process import InProcessSong, make_song
from tests.support.oracle.song import NEUTRAL, Oracle


@dataclass(frozen=True)
class Host:
    """Where songs are made: a repository, and the checkpoints that it was exported from."""

    repository: Path
    checkpoints: Path

    @cached_property
    def graphs(self) -> Graphs:
        """The repository's graphs, each loaded once."""
        return Graphs(self.repository)


@dataclass(frozen=True)
class Compared:
    """The pipeline's song, and its largest deviations in units of the oracle's largest value; audio where asked for."""

    song: InProcessSong
    latents: float
    audio: float | None


async def compare(case: Case, host: Host) -> Compared:
    """A case by the pipeline and by the oracle. Errors: SongError where the pipeline refuses it."""
    source, reference = case.audio(), case.reference_audio()
    run = host.graphs.run if case.with_audio else host.graphs.run_silently
    ours = await make_song(host.repository, run, neutral(case.asked()), source, reference)
    theirs = Oracle(host.repository, case.model, run).sing(case.asked(), source, reference)
    latents = relative_error(ours.latents[0], theirs.latents)
    return Compared(ours, latents, relative_error(ours.audio(), theirs.audio) if case.with_audio else None)


def neutral(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request with every field that it leaves out at its neutral value, whatever the pipeline's default is."""
    return {name: value for name, value in NEUTRAL.items() if name in SCHEMA["properties"]} | dict(request)


def relative_error(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> float:
    """Largest deviation, in units of the largest expected value."""
    assert ours.shape == theirs.shape
    largest = float(np.abs(theirs).max())
    assert largest > 1e-3, "a silent oracle proves nothing"
    return float(np.abs(ours - theirs).max()) / largest
