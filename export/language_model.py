"""The 5 Hz LM's checkpoint folder: which one is served, and whether it is one. Imports nothing heavy."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ExportError
from .layout import LM_PREFIX, read_config
from .shards import index_file, weight_files

NONE = "none"
DEFAULT = "acestep-5Hz-lm-0.6B"  # of the documents
CODES = 64_000  # what FSQ levels [8,8,8,5,5,5] have a meaning for (docs/model.md, Sources)
TOKENIZER = "tokenizer.json"
TEMPLATE = "chat_template.jinja"
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
_EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True)
class LanguageModel:
    """A folder in the layout of Qwen3ForCausalLM, and what its config.json says."""

    folder: Path
    values: dict[str, Any]

    @classmethod
    def choose(cls, root: Path, name: str | None, say: Callable[[str], None]) -> "LanguageModel | None":
        """The LM of that name below root; None for "none".

        name None: the documents' default if it is there, else the only one; if there is no such choice, `say` is told
        how to get one. ExportError names a folder that is missing and those there are, or is no Qwen3ForCausalLM's.
        """
        if name == NONE:
            return None
        found = _found(root)
        if name is None:
            name = DEFAULT if DEFAULT in found else found[0] if len(found) == 1 else None
            if name is None:
                say(_no_choice(root, found))
                return None
        there = f"LMs there: {', '.join(found) or 'none'}"
        if Path(name).name != name:
            raise ExportError(f"LM: {name!r} is not the name of a folder below {root} ({there})")
        if not (root / name).is_dir():
            raise ExportError(f"LM: {root / name} does not exist ({there})")
        chosen = cls(root / name, read_config(root / name))
        chosen._check_config()
        return chosen

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def is_tiny(self) -> bool:
        return bool(self.values.get("tiny", False))

    @property
    def positions(self) -> int:
        return int(self.values["max_position_embeddings"])

    def files(self) -> list[Path]:
        """What an engine needs of the folder: its weights and the JSON, text and template files; never code."""
        index = index_file(self.folder, "model")
        weights = [*weight_files(self.folder, "model"), *([index] if index.is_file() else [])]
        others = [path for path in self.folder.iterdir() if path.suffix in (".json", ".jinja", ".txt")]
        return sorted({*weights, *(path for path in others if path.is_file() and path != index)})

    def chat_template(self) -> str:
        """The checkpoint's own template, from the file of that name or from tokenizer_config.json."""
        path = self.folder / TEMPLATE
        if path.is_file():
            return path.read_text(encoding="utf-8")
        settings = self.folder / "tokenizer_config.json"
        template = json.loads(settings.read_text(encoding="utf-8")).get("chat_template") if settings.is_file() else None
        if not isinstance(template, str):
            raise self._error(f"it has no {TEMPLATE} and its tokenizer_config.json no chat_template")
        return template

    def check(self) -> None:
        """Whether this is a 5 Hz LM, its tokens and weights; ExportError says in one line what of it is not."""
        self._check_tokens()
        self._check_weights()
        self.chat_template()

    def _check_config(self) -> None:
        if self.values.get("model_type") != "qwen3" or "Qwen3ForCausalLM" not in self.values.get("architectures", ()):
            kind = self.values.get("model_type") or self.values.get("_class_name")
            raise self._error(f"its config.json describes {kind!r}, not a qwen3 Qwen3ForCausalLM")
        for key in ("vocab_size", "hidden_size", "max_position_embeddings"):
            if not isinstance(self.values.get(key), int):
                raise self._error(f"its config.json lacks {key}")

    def _check_tokens(self) -> None:
        ids = self._tokens()
        codes = [ids.get(f"<|audio_code_{code}|>") for code in range(CODES)]
        if None in codes:
            raise self._error(f"its {TOKENIZER} has no token <|audio_code_{codes.index(None)}|> (of {CODES} codes)")
        first = codes[0]
        assert first is not None
        if codes != list(range(first, first + CODES)):
            raise self._error(f"its {TOKENIZER} does not number the {CODES} audio codes one after another")
        for token in _SPECIAL:
            if token not in ids:
                raise self._error(f"its {TOKENIZER} has no token {token}")
        if (highest := max(ids.values())) >= self.values["vocab_size"]:
            raise self._error(f"its {TOKENIZER} has ids up to {highest}, vocab_size is {self.values['vocab_size']}")

    def _tokens(self) -> dict[str, int]:
        path = self.folder / TOKENIZER
        if not path.is_file():
            raise self._error(f"it has no {TOKENIZER}")
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            added = {str(token["content"]): int(token["id"]) for token in stored["added_tokens"]}
            return {**stored["model"]["vocab"], **added}
        except (ValueError, KeyError, TypeError) as error:
            raise self._error(f"its {TOKENIZER} is not a tokenizer: {error!r}") from None

    def _check_weights(self) -> None:
        """Every file is whole, and the embedding fits the vocabulary."""
        from safetensors import SafetensorError, safe_open

        expected = [self.values["vocab_size"], self.values["hidden_size"]]
        found = None
        for path in weight_files(self.folder, "model"):
            try:
                with safe_open(path, framework="numpy") as tensors:
                    if _EMBEDDING in tensors.keys():  # noqa: SIM118  (a safetensors handle, not a dict)
                        found = list(tensors.get_slice(_EMBEDDING).get_shape())
            except (SafetensorError, OSError) as error:
                raise self._error(f"its {path.name} is not a readable safetensors file: {error}") from None
        if found != expected:
            raise self._error(f"its {_EMBEDDING} has shape {found}, expected {expected}")

    def _error(self, problem: str) -> ExportError:
        return ExportError(f"LM: {self.folder} is not a 5 Hz LM: {problem}")


def _found(root: Path) -> list[str]:
    return sorted(path.parent.name for path in root.glob(f"{LM_PREFIX}-*/config.json"))


def _no_choice(root: Path, found: list[str]) -> str:
    if found:
        return f"LM: {root} holds {', '.join(found)}; set LM to one of them (nothing is planned without one)"
    return (
        f"LM: {root} holds no {LM_PREFIX}-* folder, so nothing plans songs; to get one, download the repository"
        f" ACE-Step/{DEFAULT} from Hugging Face into {root / DEFAULT}"
    )
