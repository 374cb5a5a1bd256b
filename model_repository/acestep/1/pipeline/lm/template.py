"""The LM's chat template and tokenizer: turns to a prompt that holds no token the user wrote."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

_CODE = re.compile(r"<\|audio_code_\d+\|>")


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: str
    content: str


class ChatTemplate:
    """A checkpoint's own chat template, rendered in a sandbox: it is data of a stranger."""

    def __init__(self, source: str) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        self._template = environment.from_string(source)

    def render(self, turns: Sequence[Turn], begun: str = "") -> str:
        """The prompt: the turns, then the assistant's turn, left open after the text it begins with."""
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        return self._template.render(messages=messages, add_generation_prompt=True) + begun


class LmTokenizer:
    """What the pipeline needs of the LM's tokenizer: lengths, cuts, and which texts are tokens of their own."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))
        added = (token.content for token in self._tokenizer.get_added_tokens_decoder().values())
        # The audio codes have a pattern; 65,535 alternatives would make a slow one.
        control = sorted((text for text in added if not _CODE.fullmatch(text)), key=len, reverse=True)
        self._tokens = re.compile("|".join([*map(re.escape, control), _CODE.pattern]))

    def plain(self, text: str) -> str:
        """The text without anything that the tokenizer would read as a control token or an audio code."""
        while (cleaned := self._tokens.sub("", text)) != text:
            text = cleaned
        return text

    def count(self, text: str) -> int:
        """Tokens of a prompt."""
        return len(self._tokenizer.encode(text, add_special_tokens=True).ids)

    def without_last(self, text: str, tokens: int) -> str:
        """The text without its last `tokens` tokens."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        kept = len(offsets) - tokens
        return text[: offsets[kept][0]] if kept > 0 else ""
