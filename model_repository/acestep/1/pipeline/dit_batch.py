"""The arrays of one DiT call: rows of tracks, padded and masked so that no row knows of another."""

from collections.abc import Iterator, Sequence

import numpy as np

from .length import FRAME_BUCKET, LATENT_CHANNELS, TOKEN_BUCKET, padded
from .models import DitCall, Floats
from .track import Stage, Track

Row = tuple[Track, Stage, bool]


class DitBatch:
    """Condition, context and masks of a set of tracks are laid out once; latents and t at every step.

    A guided track has two rows, the second with the model's null condition in the same slots under the same masks.
    """

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._rows = _rows(tracks)
        frames = padded(max(len(track.latents) for track in tracks), FRAME_BUCKET)
        slots = padded(max(len(track.stage.condition.hidden) for track in tracks), TOKEN_BUCKET)
        width = tracks[0].stage.condition.hidden.shape[1]
        rows = len(self._rows)
        self._latents = np.zeros((rows, frames, LATENT_CHANNELS), np.float32)
        self._timestep = np.zeros((rows, 1), np.float32)
        self._hidden = np.zeros((rows, slots, width), np.float32)
        self._hidden_mask = np.zeros((rows, slots), np.bool_)
        self._context = np.zeros((rows, frames, 2 * LATENT_CHANNELS), np.float32)
        self._latent_mask = np.zeros((rows, frames), np.bool_)
        for row, (track, stage, is_null) in enumerate(self._rows):
            hidden = stage.condition.hidden
            if is_null:
                assert track.course.guidance is not None
                hidden = np.broadcast_to(track.course.guidance.null_condition, hidden.shape)
            self._hidden[row, : len(hidden)] = hidden
            self._hidden_mask[row, : len(hidden)] = True
            self._context[row, : len(track.latents)] = stage.context
            self._latent_mask[row, : len(track.latents)] = True

    def is_for(self, tracks: Sequence[Track]) -> bool:
        """True while the same tracks follow the same stages with the same rows as when this was laid out."""
        return self._rows == _rows(tracks)

    def call(self) -> DitCall:
        """The inputs of the next evaluation."""
        for row, (track, _, _) in enumerate(self._rows):
            self._latents[row, : len(track.latents)] = track.latents
            self._timestep[row, 0] = track.t
        return DitCall(
            self._latents, self._timestep, self._hidden, self._hidden_mask, self._context, self._latent_mask)

    def split(self, velocity: Floats) -> Iterator[tuple[Track, Floats]]:
        """Each track with its velocities [rows, frames, 64], the padding cut off."""
        row = 0
        while row < len(self._rows):
            track = self._rows[row][0]
            rows = track.rows
            yield track, velocity[row : row + rows, : len(track.latents)]
            row += rows


def _rows(tracks: Sequence[Track]) -> list[Row]:
    return [(track, track.stage, is_null) for track in tracks for is_null in (False, True)[: track.rows]]
