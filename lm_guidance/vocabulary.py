"""What the guidance must know of a tokenizer: its control tokens, its audio codes, the bytes of its ordinary tokens."""

from __future__ import annotations

from pathlib import Path


class Vocabulary:
    """A byte-level BPE vocabulary with `<think>`, `</think>`, `<|im_end|>` and `<|audio_code_n|>`.

    `size`: token ids are below it. `eos`, `think`, `think_end`: ids. `codes`: the ids of the audio codes that may be
    written, n = id - codes.start.
    """

    size: int
    eos: int
    think: int
    think_end: int
    codes: range

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """From a `tokenizer.json`; ValueError of one line if something is missing in it."""
        raise NotImplementedError

    def encode(self, text: str) -> list[int]:
        """The ids the tokenizer itself writes `text` with."""
        raise NotImplementedError
