"""The seam to the engines that run the LM: one row is one stream of text."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

MODELS = {"vllm": "lm", "pt": "lm_pt"}
ABORTED = "abort"  # cancelled, or the other row of its pair is gone
REFUSED = "error"  # can never be served; the engine's log says why


@dataclass(frozen=True)
class Piece:
    """What a row says at once: more text, and with the last piece why it ended and what was counted."""

    text: str
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Engine(Protocol):
    """One loaded engine."""

    def stream(self, prompt: str, parameters: Mapping[str, Any]) -> AsyncGenerator[Piece, None]:
        """The pieces of one row. Errors: SongError, 503 when the engine is not there, 500 when it fails."""
