"""A checkpoint of the 5 Hz LM, loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from lm_guidance.constraint import Grammar
from lm_guidance.vocabulary import Vocabulary

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Settings:
    """The model's `model.json`: the checkpoint's folder, what to compute in, where, and how long a row may get.

    The folder is named from the model repository, which may lie anywhere, or by an absolute path.
    """

    model: Path
    dtype: torch.dtype
    max_model_len: int
    device: str

    @classmethod
    def read(cls, file: Path) -> Settings:
        """ValueError of one line that names the key. No `device`: the first GPU, where there is one."""
        given = json.loads(file.read_text(encoding="utf-8"))
        known = {"model", "dtype", "max_model_len", "device"}
        if wrong := sorted(set(given) - known) or sorted(known - {"device"} - set(given)):
            raise ValueError(f"{file.name}: needs model, dtype and max_model_len, may have device; see '{wrong[0]}'")
        if given["dtype"] not in DTYPES:
            raise ValueError(f"{file.name}: dtype must be one of {', '.join(DTYPES)}, not {given['dtype']!r}")
        device = given.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")
        repository = file.absolute().parents[2]
        return cls(repository / given["model"], DTYPES[given["dtype"]], int(given["max_model_len"]), device)


@dataclass(frozen=True)
class LanguageModel:
    """The network, its tokenizer and the grammar of what it may write; `eos` is the token that means the end."""

    model: Qwen3ForCausalLM
    tokenizer: Tokenizer
    grammar: Grammar
    eos: int
    max_model_len: int

    def encode(self, text: str) -> list[int]:
        """The tokens of a prompt."""
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids


def load(settings: Settings) -> LanguageModel:
    """Reads the checkpoint from the disk alone; ValueError if weights are missing in it or left over."""
    model, loading = Qwen3ForCausalLM.from_pretrained(
        settings.model, dtype=settings.dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading[what]:
            raise ValueError(f"the LM's checkpoint does not fit Qwen3ForCausalLM: {what} {sorted(loading[what])[0]}")
    file = settings.model / "tokenizer.json"
    vocabulary = Vocabulary.load(file)
    return LanguageModel(
        model.to(settings.device).eval(), Tokenizer.from_file(str(file)), Grammar(vocabulary), vocabulary.eos,
        settings.max_model_len,
    )
