"""Decoder chunks cover a song once, each frame with its whole receptive field around it."""

import pytest

from pipeline.chunks import CORE_FRAMES, cut_chunks
from pipeline.length import padded, song_length

OVERLAP = 10


@pytest.mark.parametrize("frames", [1, 10, 75, 127, 128, 129, 138, 147, 148, 149, 250, 256, 257, 750, 1533, 15_000])
def test_every_frame_once_with_its_surroundings(frames):
    kept: list[int] = []
    for chunk in cut_chunks(frames, OVERLAP):
        assert 0 <= chunk.begin <= chunk.first < chunk.last <= chunk.end <= frames
        assert chunk.begin == 0 or chunk.first - chunk.begin >= OVERLAP
        assert chunk.end == frames or chunk.end - chunk.last >= OVERLAP
        assert chunk.last - chunk.first <= CORE_FRAMES
        assert chunk.end - chunk.begin == min(frames, CORE_FRAMES + 2 * OVERLAP)
        kept += range(chunk.first, chunk.last)
    assert kept == list(range(frames))


@pytest.mark.parametrize(
    ("seconds", "samples", "frames", "visible"),
    [(30, 1_440_000, 750, 750), (61.3, 2_942_400, 1533, 1533), (10, 480_000, 250, 250), (3.01, 144_480, 76, 128)],
)
def test_lengths(seconds, samples, frames, visible):
    length = song_length(seconds)
    assert (length.samples, length.frames, length.visible) == (samples, frames, visible)


def test_padding_to_buckets():
    assert [padded(n, 64) for n in (1, 64, 65, 1533)] == [64, 64, 128, 1536]
