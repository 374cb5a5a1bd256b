"""A 5 Hz LM of the documented default's size with random weights: what it writes is noise, what it costs is not."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import Qwen3Config, Qwen3ForCausalLM

from export import tiny_lm_tokenizer
from export.tiny_lm_tokenizer import CODES, END, PAD, THINK, THINK_END

# Model facts C1 and F3: 0.6B, tied embeddings.
FIRST_SPECIAL, FIRST_THINK, FIRST_CODE = 151_643, 151_667, 151_669
CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": FIRST_CODE + CODES,
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1_000_000,
    "attention_bias": False, "attention_dropout": 0.0, "max_position_embeddings": 40960, "tie_word_embeddings": True,
    "use_cache": True, "torch_dtype": "bfloat16", "bos_token_id": FIRST_SPECIAL, "pad_token_id": FIRST_SPECIAL,
    "eos_token_id": FIRST_SPECIAL + 2,
}
# The logits' deviation is that of the embedded LM: the final norm's gain by the length of an embedding, 10 · 0.4.
NORM_GAIN, EMBEDDING_LENGTH = 10.0, 0.4


def write(folder: Path) -> None:
    """Makes the folder (1.4 GB) unless it is there."""
    if (folder / "model.safetensors").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    tiny_lm_tokenizer.write(folder)
    _widen(folder / "tokenizer.json")
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    half = folder / "model.safetensors.half"
    save_file(_tensors(), half, metadata={"format": "pt"})
    half.rename(folder / "model.safetensors")


def _widen(file: Path) -> None:
    """Gives the embedded LM's tokenizer the real one's ids, with words that no text holds in between."""
    stored = json.loads(file.read_text(encoding="utf-8"))
    words = stored["model"]["vocab"]
    for unused in range(len(words), FIRST_SPECIAL):
        words[f"unusedword{unused}"] = unused
    added = {token["content"]: token for token in stored["added_tokens"]}
    ids = [FIRST_SPECIAL + place for place in range(3)] + [FIRST_THINK, FIRST_THINK + 1]
    for content, number in zip((PAD, tiny_lm_tokenizer.START, END, THINK, THINK_END), ids, strict=True):
        added[content]["id"] = number
    for code in range(CODES):
        added[f"<|audio_code_{code}|>"]["id"] = FIRST_CODE + code
    for unused in range(FIRST_SPECIAL + 3, FIRST_THINK):
        added[f"<|unused_{unused}|>"] = added[PAD] | {"content": f"<|unused_{unused}|>", "id": unused}
    stored["added_tokens"] = sorted(added.values(), key=lambda token: int(token["id"]))
    file.write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(file))
    assert tokenizer.token_to_id("<|audio_code_0|>") == FIRST_CODE
    assert tokenizer.get_vocab_size(with_added_tokens=True) == CONFIG["vocab_size"]


def _tensors() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Qwen3ForCausalLM(Qwen3Config(**CONFIG)).state_dict().items()}
    random = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in shapes.items():
        if name == "lm_head.weight":
            continue  # tied
        if len(shape) == 1:
            tensor = torch.full(shape, NORM_GAIN if name == "model.norm.weight" else 1.0)
        else:
            tensor = torch.randn(shape, generator=random) / math.sqrt(shape[1])
        if name == "model.embed_tokens.weight":
            tensor *= EMBEDDING_LENGTH
        tensors[name] = tensor.bfloat16()
    return tensors
