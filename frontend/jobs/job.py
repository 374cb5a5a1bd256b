"""A job and its states: queued -> running -> succeeded | failed; back to queued when its worker is lost.

A job that is cancelled has failed, from either of the first two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.FAILED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.QUEUED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
}
MAX_ATTEMPTS = 3
# A part that is away is waited for, 20 s at a time. But a song may be what takes it away, over and over: it ends here.
MAX_CLAIMS = 60


@dataclass(frozen=True)
class Upload:
    """A file that came with a request: its name in the folder of uploads, its length in samples at 48 kHz."""

    file: str
    samples: int


@dataclass(frozen=True)
class Work:
    """What is to be made: the pipeline's request, the file format, remarks for the result, uploads by tensor.

    `song` has every field of the pipeline's request schema, seeds drawn, so a second attempt gives the same song.
    `api` is the one that the job came by.
    """

    song: Mapping[str, Any]
    audio_format: str
    notes: tuple[str, ...] = ()
    uploads: Mapping[str, Upload] = field(default_factory=dict)
    api: Literal["native", "chat"] = "native"

    @property
    def makes_song(self) -> bool:
        """False for an analysis, which makes no audio and is quick."""
        return bool(self.song.get("kind", "song") == "song")


@dataclass(frozen=True)
class Once:
    """A client's own name of a submission, and the digest of what it submitted: the same again gives the same job."""

    key: str
    digest: str


@dataclass(frozen=True)
class Progress:
    """Where a running job is: `done` of `total` in a phase such as "denoise"."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class AudioFile:
    """One file that we made: `path` is the public value that clients send back, `file` its name in the audio folder."""

    path: str
    file: str
    audio_format: str


@dataclass(frozen=True)
class Job:
    """A job as stored. Times are Unix seconds; `position` is 1 for the next of the queue and 0 when not queued."""

    id: str
    state: State
    work: Work
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    position: int = 0
    attempts: int = 0
    progress: Progress | None = None
    result: Mapping[str, Any] | None = None
    error: str | None = None
    error_code: str | None = None


@dataclass(frozen=True)
class Claim:
    """A worker's right to a running job; `token` grows with every claim, so that a late worker's writes are refused."""

    job: Job
    owner: str
    token: int


def is_tried_again(status: int, attempts: int, claims: int) -> bool:
    """Whether a song that ended with this error goes back to the queue.

    503 and 504 (a part is away, or does not answer) wait; a fault (500) has MAX_ATTEMPTS; what cannot be served, and
    what was cancelled, has ended.
    """
    if status in (503, 504):
        return claims < MAX_CLAIMS
    return status == 500 and attempts < MAX_ATTEMPTS
