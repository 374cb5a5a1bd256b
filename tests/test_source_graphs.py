"""The graphs that listen: VAE encoder, tokenizer and detokenizer are diffusers' own, whole or in chunks."""

import json

import numpy as np
import pytest
import torch

from export.token_graphs import BORDER, border_distance
from pipeline.chunks import cut_chunks
from tests import exported
from tests.exported import BASE, CLOSE, TURBO, parts, relative_error, run
from tests.exported import one_thread as one_thread

HOP = 1920
DITS = pytest.mark.parametrize("dit", [TURBO, BASE])


def noise(frames: int, rows: int = 1, loudness: float = 0.3) -> np.ndarray:
    random = np.random.default_rng(frames)
    return loudness * random.standard_normal((rows, 2, HOP * frames), np.float32)


def tones(frames: int) -> np.ndarray:
    """Two chords that swell, one in each channel."""
    t = np.arange(HOP * frames) / 48_000
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 1.3 * t)
    left, right = (sum(np.sin(2 * np.pi * f * t) for f in chord) for chord in ((220, 277, 330), (196, 247, 294)))
    return (0.2 * swell * np.stack([left, right])).astype(np.float32)[None]


AUDIO = {
    "one frame": noise(1),
    "odd": noise(7),
    "loud": noise(149, loudness=1.5),
    "silence": noise(20, loudness=0.0),
    "tones": tones(101),
    "three rows": noise(33, rows=3),
}


@pytest.mark.parametrize("audio", AUDIO.values(), ids=AUDIO)
def test_vae_encoder_equals_diffusers(audio):
    mean, std = run("vae_encoder", {"audio": audio})
    assert mean.shape == std.shape == (len(audio), audio.shape[2] // HOP, 64)
    expected = parts().vae.encode(torch.from_numpy(audio)).latent_dist
    assert relative_error(mean, expected.mean.transpose(1, 2)) < CLOSE
    assert relative_error(std, expected.std.transpose(1, 2)) < CLOSE


def served() -> dict:
    return json.loads((exported.repository() / "acestep" / "1" / "models" / "served.json").read_text())["vae"]


def test_the_encoders_receptive_field_is_smaller_than_the_overlap():
    """A sample that is no number spoils every latent it takes part in, whatever the weights are."""
    audio = np.zeros((1, 2, 40 * HOP), np.float32)
    reach = []
    for sample in (20 * HOP, 21 * HOP - 1):
        spoilt = audio.copy()
        spoilt[..., sample] = np.nan
        mean, std = run("vae_encoder", {"audio": spoilt})
        frames = np.flatnonzero(np.isnan(mean).any(axis=(0, 2)))
        assert np.array_equal(frames, np.flatnonzero(np.isnan(std).any(axis=(0, 2))))
        assert np.array_equal(frames, np.arange(frames[0], frames[-1] + 1))
        reach.append((20 - frames[0], frames[-1] - 20))
    assert reach == [(7, 6), (6, 7)]
    assert served()["encoder_overlap_frames"] > 7


@pytest.mark.parametrize("frames", [1, 129, 145, 301])
def test_chunks_joined_are_the_encoder_on_the_whole(frames):
    assert chunking_error(frames, served()["encoder_overlap_frames"]) < CLOSE


def test_chunks_with_too_little_around_them_are_not():
    assert chunking_error(301, 5) > 100 * CLOSE


def chunking_error(frames: int, overlap: int) -> float:
    audio = noise(frames)
    whole = parts().vae.encode(torch.from_numpy(audio)).latent_dist
    joined = []
    for chunk in cut_chunks(frames, overlap):
        outputs = run("vae_encoder", {"audio": audio[..., chunk.begin * HOP : chunk.end * HOP]})
        joined.append([output[:, chunk.first - chunk.begin : chunk.last - chunk.begin] for output in outputs])
    mean, std = (np.concatenate(pieces, axis=1) for pieces in zip(*joined, strict=True))
    expected = (whole.mean.transpose(1, 2), whole.std.transpose(1, 2))
    return max(relative_error(mean, expected[0]), relative_error(std, expected[1]))


def test_the_same_audio_gives_the_same_bits_every_time():
    first = run("vae_encoder", {"audio": noise(144)})
    for _ in range(3):
        assert all(map(np.array_equal, run("vae_encoder", {"audio": noise(144)}), first))


def latents_of(kind: str, dit: str) -> torch.Tensor:
    """Latents [rows, 5n, 64] as a cover meets them."""
    silence = parts(dit).condition_encoder.silence_latent
    match kind:
        case "one code":
            return torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(1))
        case "odd":
            return torch.randn(1, 5 * 151, 64, generator=torch.Generator().manual_seed(2))
        case "three rows":
            return torch.randn(3, 5 * 30, 64, generator=torch.Generator().manual_seed(3))
        case "audio":
            mean = parts(dit).vae.encode(torch.from_numpy(tones(103))).latent_dist.mean.transpose(1, 2)
            return torch.cat([mean, silence[:, :2]], dim=1)
    return silence[:, :3000]


@DITS
@pytest.mark.parametrize("kind", ["one code", "odd", "three rows", "audio", "silence"])
def test_codes_equal_diffusers(dit, kind):
    latents = latents_of(kind, dit)
    (codes,) = run(f"{dit}-tokenize", {"latents": latents.numpy()})
    _, expected = parts(dit).audio_tokenizer.tokenize(latents)
    assert codes.dtype == np.int64
    assert np.array_equal(codes, expected[..., 0].numpy())
    if kind == "silence":
        assert len(np.unique(codes)) > 200, "codes that are all alike prove nothing"


@DITS
def test_what_the_export_compares_is_not_near_a_border(dit):
    """Where rounding could go either way the export compares nothing: that must be the exception."""
    distance = border_distance(parts(dit).audio_tokenizer, latents_of("silence", dit))
    assert distance.shape == (1, 600)
    assert float(distance.max()) < 0.5
    assert float((distance > BORDER).float().mean()) > 0.99


def test_the_distance_to_a_border_is_the_one_that_changes_the_code():
    """Moved by less than its distance a code stays; moved over the border it changes."""
    tokenizer = parts().audio_tokenizer
    values = tokenizer.quantizer.project_in
    latents = latents_of("odd", TURBO)
    before = tokenizer.tokenize(latents)[1][..., 0]
    kept = values.bias.clone()
    distance = border_distance(tokenizer, latents)
    values.bias += 0.01  # in units of a level at most 0.035: (L - 1) / 2 times the slope 1 of tanh
    after = tokenizer.tokenize(latents)[1][..., 0]
    values.bias.copy_(kept)
    changed = before != after
    assert changed.any()
    assert float(distance[changed].max()) <= 0.035


@DITS
@pytest.mark.parametrize(("rows", "count"), [(1, 1), (1, 150), (1, 601), (3, 41)])
def test_detokenizer_equals_diffusers(dit, rows, count):
    codes = torch.from_numpy(np.random.default_rng(count).integers(0, 64_000, (rows, count)))
    codes[0, 0], codes[-1, -1] = 0, 63_999
    (latents,) = run(f"{dit}-detokenize", {"codes": codes.numpy()})
    hidden = parts(dit).audio_tokenizer.quantizer.get_output_from_indices(codes)
    assert latents.shape == (rows, 5 * count, 64)
    assert relative_error(latents, parts(dit).audio_token_detokenizer(hidden)) < CLOSE


@DITS
def test_tokens_there_and_back_are_what_a_cover_hears(dit):
    """diffusers' cover takes the quantised vectors on, without indices between: the same latents."""
    latents = latents_of("audio", dit)
    (codes,) = run(f"{dit}-tokenize", {"latents": latents.numpy()})
    (heard,) = run(f"{dit}-detokenize", {"codes": codes})
    quantized, _ = parts(dit).audio_tokenizer.tokenize(latents)
    assert relative_error(heard, parts(dit).audio_token_detokenizer(quantized)) < CLOSE
