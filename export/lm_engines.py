"""The Triton models that run the 5 Hz LM: one on vLLM, one on PyTorch, both on one copy of its checkpoint."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cache import link_or_copy
from .digests import stamps, tree
from .errors import ExportError
from .language_model import TEMPLATE, TOKENIZER, LanguageModel

VLLM = "lm"
PYTORCH = "lm_pt"
ARGUMENTS = "model.json"
_CHECKPOINT = "checkpoint"
_DTYPES = {"fp32": "float32"}
DURATION_MAX = 600
TINY_DURATION_MAX = 60  # random weights would pick anything up to it

Json = dict[str, Any]


@dataclass(frozen=True)
class LmEngines:
    """How one LM is served. sources: the checkout's model_repository folder.

    duration_max: seconds, what the LM may choose for a song at most; None: by its kind. device: where PyTorch computes,
    "auto" on a GPU if there is one; vLLM is built for one device.
    """

    model: LanguageModel
    precision: str
    duration_max: int | None
    device: str
    sources: Path

    def state(self) -> list[Any]:
        """What decides about the engines' folders, besides their sources."""
        return [self.model.name, self.duration_max, self.device, stamps(self.model.files())]

    def facts(self) -> Json:
        """What the pipeline must know: the part "lm" of served.json. Lengths in tokens, durations in seconds."""
        tiny = self.model.is_tiny
        return {
            "name": self.model.name,
            "max_model_len": self._max_model_len(),
            "duration_max": self.duration_max or (TINY_DURATION_MAX if tiny else DURATION_MAX),
            # Random weights never end a text by themselves: what they write is as long as it may be.
            "caption_max": 24 if tiny else 512,
            "text_max": 64 if tiny else 2048,
        }

    def assemble(self, folder: Path) -> None:
        """Adds the engines to the repository in `folder`, which may be moved: their checkpoint is named from there.

        The official vllm backend hands the name to vLLM as it stands, which looks for it where the server was started.
        """
        checkpoint = folder / VLLM / "1" / _CHECKPOINT
        given = {"model": checkpoint.relative_to(folder).as_posix(), "dtype": _DTYPES[self.precision]}
        for name in (VLLM, PYTORCH):
            self._copy(folder, name)
            device = {"device": self.device} if name == PYTORCH and self.device != "auto" else {}
            self._write_arguments(folder / name / "1" / ARGUMENTS, {**given, **device})
        for file in self.model.files():
            link_or_copy(file.resolve(), checkpoint / file.name)

    def add_to_pipeline(self, version: Path) -> None:
        """Tokenizer and chat template, from which the pipeline makes its prompts."""
        folder = version / "lm"
        link_or_copy((self.model.folder / TOKENIZER).resolve(), folder / TOKENIZER)
        (folder / TEMPLATE).write_text(self.model.chat_template(), encoding="utf-8")

    def _copy(self, folder: Path, name: str) -> None:
        written = self.sources / name
        if not (written / "config.pbtxt").is_file():
            raise ExportError(f"{written} has no config.pbtxt")
        for file in tree(written):
            target = folder / name / file.relative_to(written)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)

    def _write_arguments(self, path: Path, given: Mapping[str, Any]) -> None:
        written = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        arguments = {**written, **given, "max_model_len": self._max_model_len()}
        path.write_text(json.dumps(arguments, indent=2) + "\n", encoding="utf-8")

    def _max_model_len(self) -> int:
        """The engine's own bound, or the LM's if that is smaller."""
        arguments = json.loads((self.sources / VLLM / "1" / ARGUMENTS).read_text(encoding="utf-8"))
        return min(int(arguments["max_model_len"]), self.model.positions)
