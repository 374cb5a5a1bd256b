"""Cutting latents into decoder chunks that join without a seam."""

from collections.abc import Iterator
from dataclasses import dataclass

# Frames of audio a chunk contributes; also the most one audio event holds.
CORE_FRAMES = 128


@dataclass(frozen=True)
class Chunk:
    """Frames [begin, end) go into the decoder; of its output, frames [first, last) are kept."""

    begin: int
    end: int
    first: int
    last: int


def cut_chunks(frames: int, overlap: int) -> Iterator[Chunk]:
    """Chunks that cover a song in order; borders depend on its length alone.

    A decoder whose receptive field is below `overlap` frames on each side gives the same audio as one decode of the
    whole. All chunks have one shape (128 + 2·overlap frames) as long as the song has that many, so that chunks of
    different songs can share a decoder call: the outer ones are moved inwards instead of padded.
    """
    window = min(frames, CORE_FRAMES + 2 * overlap)
    for first in range(0, frames, CORE_FRAMES):
        last = min(first + CORE_FRAMES, frames)
        begin = min(max(first - overlap, 0), frames - window)
        yield Chunk(begin, begin + window, first, last)
