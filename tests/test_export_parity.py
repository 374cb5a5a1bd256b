"""The exported graphs in ONNX Runtime are the PyTorch modules: same numbers, batches and padding without a trace."""

import json
from dataclasses import replace
from operator import attrgetter

import numpy as np
import pytest
import torch

from export import onnx_file, text_graphs
from export.checkpoint import load_parts
from export.errors import ExportError
from export.graph import Graph
from tests import exported
from tests.exported import CLOSE, parts, relative_error, run
from tests.exported import one_thread as one_thread

DITS = pytest.mark.parametrize("dit", [exported.TURBO, exported.BASE])


def song(seed: int, frames: int, condition: int, t: float) -> dict[str, np.ndarray]:
    """DiT inputs of one song, without batch axis and without padding."""
    random = np.random.default_rng(seed)
    return {
        "hidden_states": random.standard_normal((frames, 64), np.float32),
        "timestep": np.array([t], np.float32),
        "encoder_hidden_states": random.standard_normal((condition, 64), np.float32),
        "encoder_mask": np.ones(condition, bool),
        "context_latents": random.standard_normal((frames, 128), np.float32),
        "latent_mask": np.ones(frames, bool),
    }


def batch(songs: list[dict[str, np.ndarray]], filler: float = 0.0, step: int = 2) -> dict[str, np.ndarray]:
    """Songs padded to a common length, a multiple of `step`."""
    joined = {}
    for name, first in songs[0].items():
        rows = [one[name] for one in songs]
        longest = max(len(row) for row in rows)
        if name != "timestep":
            longest = -(-longest // step) * step
        value = False if first.dtype == bool else filler
        joined[name] = np.full((len(rows), longest, *first.shape[1:]), value, first.dtype)
        for padded, row in zip(joined[name], rows, strict=True):
            padded[: len(row)] = row
    return joined


def alone_in_pytorch(dit: str, one: dict[str, np.ndarray]) -> torch.Tensor:
    """diffusers' own velocity of one unpadded song."""
    tensors = {name: torch.from_numpy(value)[None] for name, value in one.items() if value.ndim == 2}
    t = torch.from_numpy(one["timestep"])
    return parts(dit).transformer(timestep=t, timestep_r=t, return_dict=False, **tensors)[0][0]


SONGS = [(128, 40, 1.0), (251, 33, 0.75), (750, 300, 0.3), (2, 2, 0.9), (377, 129, 0.1)]


@DITS
def test_dit_equals_diffusers_song_by_song(dit):
    songs = [song(i, *shape) for i, shape in enumerate(SONGS)]
    (velocity,) = run(f"{dit}-dit", batch(songs, filler=9.0))
    for row, one in zip(velocity, songs, strict=True):
        frames = len(one["latent_mask"])
        assert relative_error(row[:frames], alone_in_pytorch(dit, one)) < CLOSE
        assert not row[frames:].any()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("step", [2, 64])
def test_dit_gives_a_song_the_same_bits_alone_and_among_others(threads, step):
    # Songs of one single patch are left out: a matrix of one row takes another kernel. The least is 128 frames.
    shapes = [shape for shape in SONGS if shape[0] > 2]
    songs = [song(i, *shape) for i, shape in enumerate([*shapes, (1533, 64, 0.5), (129, 31, 1.0)])]
    (together,) = run(f"{exported.TURBO}-dit", batch(songs, filler=np.nan, step=step), threads)
    for row, one in zip(together, songs, strict=True):
        (alone,) = run(f"{exported.TURBO}-dit", batch([one], step=step), threads)
        frames = len(one["latent_mask"])
        assert np.array_equal(alone[0, :frames], row[:frames])


def test_a_dit_without_masks_would_notice_its_neighbours():
    """The comparison above can fail: with masks that claim the padding is valid, it does."""
    songs = [song(0, 128, 40, 1.0), song(1, 300, 60, 0.5)]
    padded = batch(songs)
    (right,) = run(f"{exported.TURBO}-dit", padded)
    for mask in ("latent_mask", "encoder_mask"):
        (wrong,) = run(f"{exported.TURBO}-dit", padded | {mask: np.ones_like(padded[mask])})
        assert np.abs(wrong[0, :128] - right[0, :128]).max() > 1e-3
        assert np.array_equal(wrong[1], right[1])


def condition_inputs(text: list[int], lyrics: list[int]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(len(text))
    rows = len(text)
    return {
        "text_hidden_states": random.standard_normal((rows, max(text), 32), np.float32),
        "text_mask": np.arange(max(text))[None] < np.array(text)[:, None],
        "lyric_hidden_states": random.standard_normal((rows, max(lyrics), 32), np.float32),
        "lyric_mask": np.arange(max(lyrics))[None] < np.array(lyrics)[:, None],
        "refer_latents": random.standard_normal((rows, 750, 64), np.float32),
    }


@DITS
@pytest.mark.parametrize(("text", "lyrics"), [([57], [311]), ([256], [2048]), ([1], [1]), ([40, 99, 7], [200, 3, 64])])
def test_condition_equals_diffusers(dit, text, lyrics):
    inputs = condition_inputs(text, lyrics)
    packed, mask = run(f"{dit}-condition", inputs)
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    expected, expected_mask = parts(dit).condition_encoder(
        text_hidden_states=tensors["text_hidden_states"],
        text_attention_mask=tensors["text_mask"],
        lyric_hidden_states=tensors["lyric_hidden_states"],
        lyric_attention_mask=tensors["lyric_mask"],
        refer_audio_acoustic_hidden_states_packed=tensors["refer_latents"],
        refer_audio_order_mask=torch.arange(len(text)),
    )
    assert np.array_equal(mask, expected_mask.numpy())
    assert mask.sum(axis=1).tolist() == [a + b + 1 for a, b in zip(text, lyrics, strict=True)]
    for row, count in enumerate(mask.sum(axis=1)):
        assert relative_error(packed[row, :count], expected[row, :count]) < CLOSE


@pytest.mark.parametrize("lengths", [[1], [57], [256], [40, 256, 7]])
def test_text_encoder_equals_transformers(lengths):
    encoder = parts().text_encoder
    ids = np.random.default_rng(0).integers(0, encoder.config.vocab_size, (len(lengths), max(lengths)))
    mask = np.arange(max(lengths))[None] < np.array(lengths)[:, None]
    (hidden,) = run("text_encoder", {"input_ids": ids, "attention_mask": mask})
    for row, length in enumerate(lengths):
        expected = encoder(input_ids=torch.from_numpy(ids[row : row + 1, :length])).last_hidden_state[0]
        assert relative_error(hidden[row, :length], expected) < CLOSE


def test_lyric_embedding_is_the_text_encoders_table():
    table = parts().text_encoder.embed_tokens.weight.numpy()
    ids = np.random.default_rng(0).integers(0, len(table), (2, 2048))
    assert np.array_equal(run("lyric_embedding", {"input_ids": ids})[0], table[ids])


@pytest.mark.parametrize("frames", [1, 20, 148, 333])
def test_vae_decoder_equals_diffusers(frames):
    latents = np.random.default_rng(frames).standard_normal((1, frames, 64), np.float32)
    (audio,) = run("vae_decoder", {"latents": latents})
    assert audio.shape == (1, 2, 1920 * frames)
    expected = parts().vae.decode(torch.from_numpy(latents).transpose(1, 2)).sample
    assert relative_error(audio, expected) < CLOSE


def test_the_decoders_receptive_field_ends_within_nine_frames():
    latents = np.random.default_rng(0).standard_normal((1, 60, 64), np.float32)
    disturbed = latents.copy()
    disturbed[0, 30] += 1000.0
    (before,), (after,) = (run("vae_decoder", {"latents": one}) for one in (latents, disturbed))
    moved = np.flatnonzero((before != after).any(axis=(0, 1)))
    assert (30 - 9) * 1920 <= moved[0] < (30 - 8) * 1920
    assert (31 + 8) * 1920 <= moved[-1] < (31 + 9) * 1920


@pytest.mark.parametrize("overlap", [10, 16])
def test_a_chunk_with_ten_frames_around_it_is_the_whole_there(overlap):
    latents = np.random.default_rng(0).standard_normal((1, 200, 64), np.float32)
    (whole,) = run("vae_decoder", {"latents": latents})
    (chunk,) = run("vae_decoder", {"latents": latents[:, 30 - overlap : 158 + overlap]})
    inner, outer = chunk[..., overlap * 1920 : -overlap * 1920], whole[..., 30 * 1920 : 158 * 1920]
    assert np.abs(inner - outer).max() < CLOSE * np.abs(whole).max()


UNUSED = {
    "condition_encoder": {"timbre_encoder.special_token", "null_condition_emb"},  # only XL models read the first
}
MODULES = (
    "transformer", "condition_encoder", "audio_tokenizer", "audio_token_detokenizer", "vae.encoder", "vae.decoder",
    "text_encoder",
)  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_every_weight_changes_the_output(name):
    """Parity can see each weight: with its random part taken away, the output moves by more than the tolerance."""
    module = attrgetter(name)(load_parts(exported.TINY, exported.BASE))
    before = probe(name, module)
    for key, parameter in module.named_parameters():
        if key in UNUSED.get(name, ()):
            continue
        kept = parameter.clone()
        parameter.fill_(kept.mean() if kept.numel() > 1 else 0.0)
        after = probe(name, module)
        parameter.copy_(kept)
        moved = float((after - before).abs().max() / before.abs().max())
        assert moved > 100 * CLOSE, f"{key} moves the output by {moved:.1e}"


def probe(name: str, module) -> torch.Tensor:
    """One output of a PyTorch module."""
    if name == "transformer":
        one = {key: torch.from_numpy(value)[None] for key, value in song(0, 50, 20, 0.7).items() if value.ndim == 2}
        t = torch.tensor([0.7])
        return module(timestep=t, timestep_r=t, return_dict=False, **one)[0]
    if name == "condition_encoder":
        one = {key: torch.from_numpy(value) for key, value in condition_inputs([20], [30]).items()}
        return module(
            one["text_hidden_states"], one["text_mask"], one["lyric_hidden_states"], one["lyric_mask"],
            one["refer_latents"][:, :60], torch.arange(1),
        )[0]  # fmt: skip
    random = torch.Generator().manual_seed(0)
    if name == "audio_tokenizer":
        quantized, codes = module.tokenize(torch.randn(1, 500, 64, generator=random))
        return torch.cat([quantized.flatten(), codes.flatten() / 64_000])
    if name == "audio_token_detokenizer":
        return module(torch.randn(1, 10, 64, generator=random))
    if name == "vae.encoder":
        return module(torch.randn(1, 2, 2 * 1920, generator=random))
    if name == "vae.decoder":
        return module(torch.randn(1, 64, 2, generator=random))
    return module(input_ids=torch.arange(40)[None]).last_hidden_state


def test_manifests_say_what_was_measured():
    for manifest in exported.repository().glob("*/manifest.json"):
        values = json.loads(manifest.read_text())
        assert values["name"] == manifest.parent.name
        assert values["opset"] == 20
        assert len(values["max_relative_error"]) >= 3
        assert values["max_relative_error"].keys() == values["pytorch_relative_error"].keys()
        assert max(values["max_relative_error"].values()) <= CLOSE
        assert all(len(digest) == 64 for digest in values["sources"].values())
        assert str(exported.ROOT) not in (manifest.parent / "1" / "model.onnx").read_bytes().decode("latin-1")


@pytest.fixture
def embedding() -> Graph:
    return text_graphs.lyric_embedding(parts().text_encoder)


def test_a_graph_that_deviates_is_not_exported(embedding, tmp_path):
    wrong = load_parts(exported.TINY, exported.TURBO).text_encoder
    wrong.embed_tokens.weight[5] += 1e-3
    other = text_graphs.lyric_embedding(wrong)
    broken = replace(embedding, oracle=other.oracle, cases=other.cases)
    with pytest.raises(ExportError, match=r"^lyric_embedding: the graph deviates from PyTorch by .*e-04"):
        onnx_file.write(broken, tmp_path, "lyric_embedding", {})
    assert not (tmp_path / "manifest.json").exists()


def test_large_weights_go_beside_the_graph(embedding, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST_SINGLE_FILE", 1000)
    onnx_file.write(embedding, tmp_path, "lyric_embedding", {})
    assert (tmp_path / "model.onnx").stat().st_size < 5000
    assert (tmp_path / "model.onnx.data").stat().st_size > 50_000
