"""What the pipeline knows of the LM it calls: written by the export, read once at load."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .template import ChatTemplate, LmTokenizer


@dataclass(frozen=True)
class Lm:
    """The 5 Hz LM; its bounds are tokens, but for `duration_max`, the longest song in seconds that it may choose."""

    name: str
    max_model_len: int
    duration_max: int
    caption_max: int
    text_max: int
    tokenizer: LmTokenizer
    template: ChatTemplate


def load(facts: Mapping[str, Any] | None, folder: Path) -> Lm | None:
    """The LM that served.json names; None when songs are served without one."""
    if facts is None:
        return None
    return Lm(
        **{name: facts[name] for name in ("name", "max_model_len", "duration_max", "caption_max", "text_max")},
        tokenizer=LmTokenizer(folder / "tokenizer.json"),
        template=ChatTemplate((folder / "chat_template.jinja").read_text(encoding="utf-8")),
    )
