"""The embedded checkpoint: upstream's folders, files and tensor names with a model small enough for a laptop.

Its graphs are the real ones; its weights are random, so its audio is noise.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderOobleck
from safetensors.numpy import save_file
from transformers import Qwen3Config, Qwen3Model

from . import oobleck, tiny_lm, tiny_tokenizer, tiny_weights
from .checkpoint import SILENCE_FRAMES, meta_modules, parameter_shapes
from .layout import SILENCE, TEXT_ENCODER, VAE, VAE_WEIGHTS, DitConfig
from .upstream_keys import to_upstream

TURBO = "acestep-tiny-turbo"
BASE = "acestep-tiny-base"
LM = "acestep-5Hz-lm-tiny"
SEED = 20_260_124
CHANNELS = 64
TEXT_WIDTH = 32

_LAYERS = 4
_DIT: dict[str, Any] = {
    "architectures": ["AceStepConditionGenerationModel"],
    "model_type": "acestep",
    "tiny": True,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "use_sliding_window": True,
    "sliding_window": 16,
    "layer_types": ["sliding_attention", "full_attention"] * (_LAYERS // 2),
    "in_channels": 3 * CHANNELS,
    "audio_acoustic_hidden_dim": CHANNELS,
    "patch_size": 2,
    "text_hidden_dim": TEXT_WIDTH,
    "timbre_hidden_dim": CHANNELS,
    "timbre_fix_frame": 750,
    "num_lyric_encoder_hidden_layers": 2,
    "num_timbre_encoder_hidden_layers": 2,
    "num_attention_pooler_hidden_layers": 2,
    "num_audio_decoder_hidden_layers": _LAYERS,
    "pool_window_size": 5,
    "fsq_dim": 64,
    "fsq_input_levels": [8, 8, 8, 5, 5, 5],
    "fsq_input_num_quantizers": 1,
    "max_position_embeddings": 32768,
    "vocab_size": 64003,
    "initializer_range": 0.02,
    "timestep_mu": -0.4,
    "timestep_sigma": 1.0,
    "data_proportion": 0.5,
    "torch_dtype": "float32",
}
_VAE: dict[str, Any] = {
    "_class_name": "AutoencoderOobleck",
    "audio_channels": 2,
    "channel_multiples": [1, 2, 2, 4, 4],
    "decoder_channels": 4,
    "decoder_input_channels": CHANNELS,
    "downsampling_ratios": [2, 4, 4, 6, 10],
    "encoder_hidden_size": 2 * CHANNELS,
    oobleck.ENCODER_WIDTH: 4,
    "sampling_rate": 48000,
}
_TEXT: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": TEXT_WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "attention_bias": False,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
}


def write(root: Path) -> None:
    """Fills an empty folder with the embedded checkpoint (about 38 MB)."""
    write_dit(root / TURBO, {"is_turbo": True, "model_version": "turbo"}, SEED)
    write_dit(root / BASE, {"is_turbo": False, "model_version": "base"}, SEED + 1)
    _write_vae(root / VAE)
    _write_text_encoder(root / TEXT_ENCODER)
    tiny_lm.write(root / LM)


def write_dit(folder: Path, variant: Mapping[str, Any], seed: int) -> None:
    """Makes one DiT folder. variant: what its config.json says differently."""
    folder.mkdir(parents=True)
    _write_config(folder, {**_DIT, **variant})
    tensors: dict[str, tiny_weights.Array] = {}
    for module, shell in meta_modules(DitConfig.read(folder)).items():
        drawn = tiny_weights.draw(parameter_shapes(shell), seed, module)
        tensors |= {to_upstream(module, name): tensor for name, tensor in drawn.items()}
    _save(tensors, folder / "model.safetensors")
    silence = torch.from_numpy(tiny_weights.silence(SILENCE_FRAMES, CHANNELS, SEED))
    torch.save(silence, folder / SILENCE)


def _write_vae(folder: Path) -> None:
    folder.mkdir(parents=True)
    _write_config(folder, _VAE)
    with torch.device("meta"):
        shell = oobleck.build(AutoencoderOobleck, _VAE)
    _save(_drawn(shell, "vae"), folder / f"{VAE_WEIGHTS}.safetensors")


def _write_text_encoder(folder: Path) -> None:
    folder.mkdir(parents=True)
    config = {**_TEXT, "vocab_size": tiny_tokenizer.write(folder)}
    _write_config(folder, config)
    with torch.device("meta"):
        shell = Qwen3Model(Qwen3Config(**config))
    _save(_drawn(shell, "text_encoder"), folder / "model.safetensors")


def _drawn(shell: Any, scope: str) -> dict[str, tiny_weights.Array]:
    return tiny_weights.draw(parameter_shapes(shell), SEED, scope)


def _save(tensors: dict[str, tiny_weights.Array], path: Path) -> None:
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes it private, but a container may read it as another user


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
