"""Why the pipeline made no song."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What Triton says of a model that is absent, loading, or whose process has died.
_NOT_READY = ("unknown model", "not ready", "not found", "unavailable", "Failed to connect", "Stub process")
_PREFIX = re.compile(r"\[(\d{3})\] (.*)", re.DOTALL)


@dataclass
class SongError(Exception):
    """`status` 400: the request cannot be served; 499: cancelled; 500: a fault; 503: a part is not ready and
    504: it does not answer, try again."""

    status: int
    text: str

    def __str__(self) -> str:
        return self.text


def song_error(message: str, *, begun: bool) -> SongError:
    """The error behind Triton's message. The pipeline's own begin with [status]; a stream carries no other sign of it.

    Anything that breaks a song that had begun is a fault, which counts as an attempt: a request that kills its server
    must not be tried for ever.
    """
    line = " ".join(message.split())
    if found := _PREFIX.search(line):
        return SongError(int(found[1]), found[2])
    if begun:
        return SongError(500, "the song pipeline broke off")
    if any(sign in line for sign in _NOT_READY):
        return SongError(503, "the song pipeline is not ready")
    return SongError(500, "the song pipeline failed")
