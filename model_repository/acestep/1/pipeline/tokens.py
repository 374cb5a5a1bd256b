"""Prompts as token ids, by the text encoder's own tokenizer (docs/model.md, Texts)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer


@dataclass(frozen=True)
class TokenIds:
    """Ids of one text, int64 [n]; `cut` tells how many were dropped past the encoder's limit."""

    ids: npt.NDArray[np.int64]
    cut: int


class PromptTokenizer:
    """Turns prompts into ids with special tokens, cut at a limit, never padded here."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, text: str, limit: int) -> TokenIds:
        """Ids of the text, at most `limit`; as in the reference, the end is what gets lost."""
        ids = self._tokenizer.encode(text, add_special_tokens=True).ids
        if len(ids) <= limit:
            return TokenIds(np.array(ids, np.int64), 0)
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        # Truncation comes before the special tokens are added, so those stay at the end.
        kept = ids[: limit - special] + ids[len(ids) - special :]
        return TokenIds(np.array(kept, np.int64), len(ids) - limit)
