"""Reference audio: fixed windows, as the reference pipeline takes them."""

import numpy as np
import pytest
import torch
from diffusers import AceStepPipeline

from pipeline.timbre import is_silent, timbre_windows


class _Stop(Exception):
    pass


class _Pipeline:
    """What the reference's method touches up to the encoder, where the windows are seen."""

    sample_rate = 48_000

    class vae:
        dtype = torch.float32

        @staticmethod
        def encode(audio):
            raise _Stop(audio)


@pytest.mark.parametrize("samples", [1, 48_000 * 7 + 5, 48_000 * 30, 48_000 * 31 + 7, 48_000 * 200 + 11])
def test_windows_are_the_reference_pipeline_s(samples):
    audio = np.random.default_rng(0).uniform(-1, 1, (2, samples)).astype(np.float32)
    with pytest.raises(_Stop) as caught:
        AceStepPipeline.prepare_reference_audio_latents(_Pipeline(), torch.from_numpy(audio), 1, "cpu", torch.float32)
    theirs = caught.value.args[0][0].numpy()
    ours = timbre_windows(audio)
    assert ours.shape == (2, 1_440_000)
    np.testing.assert_array_equal(ours, theirs)


def test_a_loud_reference_is_clamped():
    windows = timbre_windows(np.array([[4.0], [-3.0]], np.float32))
    assert (windows == np.array([[1.0], [-1.0]])).all()


def test_silence_is_no_reference():
    assert is_silent(np.zeros((2, 0), np.float32))
    assert is_silent(np.full((2, 10), 5e-7, np.float32))
    assert not is_silent(np.full((2, 10), 2e-6, np.float32))
