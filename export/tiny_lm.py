"""The embedded 5 Hz LM: upstream's layout of a Qwen3ForCausalLM, small, with random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

from . import tiny_lm_tokenizer, tiny_weights

SEED = 20_260_125
_CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "tiny": True,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
    "use_cache": True,
    "torch_dtype": "float32",
}
_EMBEDDING = "model.embed_tokens.weight"
# What is read off is embedding · final norm's output, so that these two set the logits' deviation: 8 · 0.05 · 10 = 4.
# With embeddings as small and as long as each other no token is likelier than another, and a token's own embedding in
# the last hidden state, which tied weights would turn into a repetition, is outweighed by what the layers write.
_LENGTH = 0.4
_GAIN = {
    "model.norm.weight": 10.0,
    "o_proj.weight": 4.0,
    "down_proj.weight": 4.0,
    "q_norm.weight": 2.0,  # sharp attention: what comes next depends on the place, not on the last token alone
}


def write(folder: Path) -> None:
    """Makes the LM's folder (about 26 MB)."""
    folder.mkdir(parents=True)
    tokenizer = tiny_lm_tokenizer.write(folder)
    config = {
        **_CONFIG,
        "vocab_size": tokenizer.get_vocab_size(with_added_tokens=True),
        "bos_token_id": tokenizer.token_to_id(tiny_lm_tokenizer.PAD),
        "eos_token_id": tokenizer.token_to_id(tiny_lm_tokenizer.END),
        "pad_token_id": tokenizer.token_to_id(tiny_lm_tokenizer.PAD),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    path = folder / "model.safetensors"
    save_file(_tensors(config), path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes it private, but a container may read it as another user


def _tensors(config: dict[str, Any]) -> dict[str, tiny_weights.Array]:
    with torch.device("meta"):
        shell = Qwen3ForCausalLM(Qwen3Config(**config))
    shapes = {name: tuple(tensor.shape) for name, tensor in shell.state_dict().items() if name != "lm_head.weight"}
    tensors = tiny_weights.draw(shapes, SEED, "lm")
    rows = tensors[_EMBEDDING]
    rows *= _LENGTH / np.linalg.norm(rows, axis=1, keepdims=True)
    for name, tensor in tensors.items():
        for end, gain in _GAIN.items():
            if name.endswith(end):
                tensor *= gain
    return tensors
