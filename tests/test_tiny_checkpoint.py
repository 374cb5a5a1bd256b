"""The embedded checkpoint: upstream's layout, reproducible, every weight visible, small enough for a laptop."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AceStepPipeline, AutoencoderOobleck
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.utils.flop_counter import FlopCounterMode

from export import oobleck, tiny_checkpoint
from export.checkpoint import Parts, load_parts
from export.layout import read_config
from tests import exported
from tests.exported import one_thread as one_thread

TEXTS = ["calm piano", "夜晚的城市，电子流行", "🎵🥁🔥 drums", "naïve Übermut\n\n[Verse]\n", ""]


@pytest.fixture(scope="module")
def tiny() -> Path:
    exported.repository()
    return exported.TINY


@pytest.fixture(scope="module")
def parts(tiny) -> Parts:
    return load_parts(tiny, exported.TURBO)


def weight_files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.safetensors"))


def test_it_has_upstreams_files_and_names(tiny):
    upstream = json.loads((Path(__file__).parent / "data" / "upstream_keys.json").read_text())["models"][0]
    for dit in (exported.TURBO, exported.BASE):
        keys = load_file(tiny / dit / "model.safetensors").keys()
        assert {pattern(key) for key in keys} == {pattern(key) for key in upstream["keys"]}
        assert upstream["config"].keys() <= read_config(tiny / dit).keys()
        assert torch.load(tiny / dit / "silence_latent.pt", weights_only=True).shape == (1, 64, 15000)
    assert weight_files(tiny) == [
        "Qwen3-Embedding-0.6B/model.safetensors",
        f"{exported.LM}/model.safetensors",
        "acestep-tiny-base/model.safetensors",
        "acestep-tiny-turbo/model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def pattern(key: str) -> str:
    return re.sub(r"layers\.\d+\.", "layers.N.", key)


def test_it_comes_out_the_same_every_time(tiny, tmp_path):
    tiny_checkpoint.write(tmp_path)
    assert weight_files(tmp_path) == weight_files(tiny)
    for name in weight_files(tiny):
        assert (tmp_path / name).read_bytes() == (tiny / name).read_bytes(), name
    for name in (
        "Qwen3-Embedding-0.6B/tokenizer.json",
        "vae/config.json",
        f"{exported.TURBO}/config.json",
        f"{exported.LM}/tokenizer.json",
        f"{exported.LM}/config.json",
    ):
        assert (tmp_path / name).read_bytes() == (tiny / name).read_bytes(), name
    silence = f"{exported.BASE}/silence_latent.pt"
    assert torch.equal(torch.load(tmp_path / silence), torch.load(tiny / silence))


def test_no_tensor_is_constant(tiny):
    for file in weight_files(tiny):
        for key, tensor in load_file(tiny / file).items():
            assert tensor.isfinite().all(), key
            assert tensor.numel() == 1 or tensor.std() > 1e-3, key
            assert not (tensor == 0).any(), key


def test_the_two_models_differ_in_every_tensor(tiny):
    turbo, base = (load_file(tiny / name / "model.safetensors") for name in (exported.TURBO, exported.BASE))
    assert not [key for key, tensor in turbo.items() if torch.equal(tensor, base[key])]
    assert (read_config(tiny / exported.TURBO)["is_turbo"], read_config(tiny / exported.BASE)["is_turbo"]) == (1, 0)


def test_decoding_a_minute_costs_what_a_laptop_has(tiny):
    with torch.device("meta"):
        vae = oobleck.build(AutoencoderOobleck, read_config(tiny / "vae"))
        latents = torch.empty(1, 64, 1500)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        audio = vae.decoder(latents)
    assert audio.shape == (1, 2, 60 * 48_000)
    assert 5e9 < counter.get_total_flops() <= 30e9


def test_the_encoder_gives_full_latents_at_a_fraction_of_the_cost(tiny):
    config = read_config(tiny / "vae")
    with torch.device("meta"):
        narrow, stock = (oobleck.build(AutoencoderOobleck, values) for values in (config, without_width(config)))
        audio = torch.empty(1, 2, 30 * 48_000)
    costs = []
    for vae in (narrow, stock):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            assert vae.encode(audio).latent_dist.mean.shape == (1, 64, 750)
        costs.append(counter.get_total_flops())
    assert costs[0] < 5e9 < 100 * costs[0] < costs[1]


def without_width(config: dict) -> dict:
    return {key: value for key, value in config.items() if key != oobleck.ENCODER_WIDTH}


def test_without_our_key_the_vae_is_diffusers_own():
    config = {"_class_name": "AutoencoderOobleck", "downsampling_ratios": [2, 4, 4, 6, 10], "sampling_rate": 48000}
    with torch.device("meta"):
        ours = oobleck.build(AutoencoderOobleck, config)
        stock = AutoencoderOobleck(downsampling_ratios=[2, 4, 4, 6, 10], sampling_rate=48000)
    assert str(ours) == str(stock)
    assert ours.config == stock.config


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_becomes_ids_and_back(parts, tiny, text):
    ids = parts.tokenizer(text).input_ids
    end = parts.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert ids[-1] == end
    assert parts.tokenizer.decode(ids[:-1]) == text
    bare = Tokenizer.from_file(str(tiny / "Qwen3-Embedding-0.6B" / "tokenizer.json"))
    assert bare.encode(text).ids == ids
    assert max(ids) < parts.text_encoder.config.vocab_size


def test_the_end_token_is_appended_once_and_survives_truncation(parts):
    end = parts.tokenizer.pad_token_id
    assert parts.tokenizer("a<|endoftext|>\n").input_ids[-3:].count(end) == 2
    cut = parts.tokenizer("long " * 400, truncation=True, max_length=256).input_ids
    assert len(cut) == 256
    assert cut[-1] == end
    assert end not in cut[:-1]


def test_padding_is_on_the_right(parts):
    masks = parts.tokenizer(["a much longer prompt than the other", "short"], padding="longest").attention_mask
    assert masks[0] == [1] * len(masks[0])
    assert masks[1] == sorted(masks[1], reverse=True)
    assert 0 in masks[1]


@pytest.mark.slow  # test_song_parity.py takes the same pipeline through three songs
def test_diffusers_own_pipeline_makes_a_song_of_it(parts):
    pipeline = AceStepPipeline(**parts.pipeline_arguments())
    pipeline.set_progress_bar_config(disable=True)

    def sing(prompt: str, seed: int, output: str = "latent") -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        asked = {"lyrics": "[verse]\n你好 🎵", "audio_duration": 10.0, "output_type": output}
        return pipeline(prompt=prompt, generator=generator, **asked).audios.numpy()

    audio = sing("calm piano", 1, output="pt")
    assert audio.shape == (1, 2, 480_000)
    assert np.isfinite(audio).all()
    assert 0.01 < audio.std() < 0.5
    latents = sing("calm piano", 1)
    assert np.array_equal(latents, sing("calm piano", 1))
    for other in (sing("loud drums", 1), sing("calm piano", 2)):
        assert np.abs(latents - other).max() > 0.01
