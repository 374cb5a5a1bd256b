"""Decoding in chunks equals decoding the whole, at every chunk's border."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from pipeline.chunks import cut_chunks
from pipeline.length import HOP
from tests.pipeline_client import sing


@pytest.mark.parametrize("seconds", [10, 26.1])
async def test_chunks_join_without_a_seam(stack, seconds):
    song = await sing(stack.triton_grpc, caption="bells", duration=seconds, seeds=[5], **{"return": ["latents"]})
    latents = song.latents[0]
    session = onnxruntime.InferenceSession(str(Path(stack.repository) / "vae_decoder/1/model.onnx"))
    (whole,) = session.run(None, {"latents": latents[None]})
    chunked = song.audio()
    whole = whole[0, :, : chunked.shape[1]]
    peak = np.abs(whole).max()
    borders = [chunk.first * HOP for chunk in cut_chunks(len(latents), 10)][1:]
    assert borders
    for border in borders:
        around = slice(border - HOP, border + HOP)
        assert np.abs(chunked[:, around] - whole[:, around]).max() < 5e-6 * peak
    assert np.abs(chunked - whole).max() < 5e-6 * peak
