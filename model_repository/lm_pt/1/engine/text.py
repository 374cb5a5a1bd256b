"""Tokens to text, as they come."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

INVALID_PREFIX = "Invalid prefix encountered"


class TextStream:
    """Text of a growing completion, never half a character; bytes that are none by the end are left out."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], skip_special_tokens: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._stream = DecodeStream(ids=list(prompt), skip_special_tokens=skip_special_tokens)

    def step(self, token: int) -> str:
        """The text that this token completes, "" if it completes none."""
        try:
            return self._stream.step(self._tokenizer, token) or ""
        except Exception as error:
            if not str(error).startswith(INVALID_PREFIX):
                raise
            # Tokens that spell broken UTF-8 can change text already given out; vLLM begins anew there, too.
            self._stream = DecodeStream(skip_special_tokens=self._skip_special_tokens)
            return self._stream.step(self._tokenizer, token) or ""
