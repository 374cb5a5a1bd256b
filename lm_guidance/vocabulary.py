"""What the guidance must know of a tokenizer: its control tokens, its audio codes, the bytes of its ordinary tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

EOS, THINK, THINK_END = "<|im_end|>", "<think>", "</think>"
# FSQ levels [8,8,8,5,5,5]: codes from here on exist in the vocabulary and mean nothing.
CODES = 64_000
_CODE = re.compile(r"<\|audio_code_([0-9]+)\|>")


class Vocabulary:
    """A byte-level BPE vocabulary with `<think>`, `</think>`, `<|im_end|>` and `<|audio_code_n|>`.

    `size`: token ids are below it. `eos`, `think`, `think_end`: ids. `codes`: the ids of the audio codes that may be
    written, n = id - codes.start. `ordinary`: the ids of all tokens but those that were added to the BPE's, ascending.
    `added`: the texts of those that were, except the audio codes.
    """

    def __init__(self, tokenizer: Tokenizer, bpe: Mapping[str, int], added: Mapping[str, int]) -> None:
        everything = {**bpe, **added}
        codes = {text: token for text, token in everything.items() if _CODE.fullmatch(text)}
        special = {**added, **codes}
        ordinary = sorted((token, text) for text, token in bpe.items() if text not in special)
        self._tokenizer = tokenizer
        self.size = max(everything.values()) + 1
        self.eos, self.think, self.think_end = (_find(everything, text) for text in (EOS, THINK, THINK_END))
        self.codes = _run_of(codes)
        self.added = tuple(sorted(text for text in special if text not in codes))
        self.ordinary: npt.NDArray[np.int64] = np.array([token for token, _ in ordinary], np.int64)
        self._bytes, self._offsets = _spell([text for _, text in ordinary])
        single = self._offsets[1:] - self._offsets[:-1] == 1
        if np.unique(self._bytes[self._offsets[:-1][single]]).size != 256:
            raise ValueError("tokenizer.json: not a byte-level BPE with a token for each byte")

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """From a `tokenizer.json`; ValueError of one line if something is missing in it."""
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        model = content.get("model", {})
        if not isinstance(model.get("vocab"), dict):
            raise ValueError("tokenizer.json: not a byte-level BPE with a token for each byte")
        added = {str(token["content"]): int(token["id"]) for token in content.get("added_tokens", ())}
        return cls(Tokenizer.from_file(str(path)), model["vocab"], added)

    @property
    def spelling(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """The bytes of all ordinary tokens on end, and where each one's begin (and the last one's end)."""
        return self._bytes, self._offsets

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids that the tokenizer itself writes `text` with; ValueError unless they are ordinary ones."""
        tokens = tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)
        if self._decode(tokens) != text.encode():
            raise ValueError(f"tokenizer.json: cannot write {text!r} with ordinary tokens")
        return tokens

    def _decode(self, tokens: Sequence[int]) -> bytes | None:
        places = np.searchsorted(self.ordinary, tokens)
        places[places == self.ordinary.size] = 0
        if not np.array_equal(self.ordinary[places], tokens):
            return None
        return b"".join(self._bytes[self._offsets[place] : self._offsets[place + 1]].tobytes() for place in places)


def _find(tokens: Mapping[str, int], text: str) -> int:
    if text not in tokens:
        raise ValueError(f"tokenizer.json: no token {text}")
    return tokens[text]


def _run_of(codes: Mapping[str, int]) -> range:
    """The ids of audio codes 0, 1, ... as far as they mean something."""
    numbers = {int(text[len("<|audio_code_") : -len("|>")]): token for text, token in codes.items()}
    first = numbers.get(0)
    if first is None or any(numbers.get(n) != first + n for n in range(len(numbers))):
        raise ValueError("tokenizer.json: <|audio_code_0|> and the following ones must have ids in a row")
    return range(first, first + min(len(numbers), CODES))


def _spell(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Byte-level BPE writes each byte as one character; here they are bytes again."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    try:
        joined = "".join(texts).translate(_BYTE_OF).encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("tokenizer.json: not a byte-level BPE with a token for each byte") from None
    return np.frombuffer(joined, np.uint8), np.concatenate([[0], np.cumsum(lengths)])


def _byte_characters() -> dict[int, int]:
    """Code point to byte, as GPT-2 has it: printable Latin-1 stands for itself, the rest follow from 256 on."""
    themselves = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in themselves]
    # What is no byte's character is left as it is above Latin-1, or sent there.
    table = dict.fromkeys(others, 0x100)
    return table | {256 + n: byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_characters()
