"""One request to the LM: what is asked, and the client that is answered."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from engine.text import TextStream
from lm_guidance import spec
from lm_guidance.contract import Delta, GenerateRequest, RequestError
from lm_guidance.spec import RowSpec

FinishReason = Literal["stop", "length", "abort"]

OBEYED = frozenset({"temperature", "max_tokens", "skip_special_tokens", "spaces_between_special_tokens", "extra_args"})
RETURNED = frozenset({"finish_reason", "num_input_tokens", "num_output_tokens"})
MAX_TOKENS = 16  # vLLM's default, as the two below
SKIP_SPECIAL_TOKENS = True
TEMPERATURE = 1.0


class Gone(Exception):
    """The client does not listen any more."""


class Client(Protocol):
    """Who is answered; called from several threads, but never by two at once."""

    def send(self, delta: Delta) -> None:
        """Passes on what the completion has gained; nothing follows a delta with a finish reason."""

    def fail(self, error: Exception) -> None:
        """Ends the stream: a RequestError is the client's own, `Gone` its wish, any other a fault of this engine."""

    def is_gone(self) -> bool:
        """Whether nobody listens any more."""


@dataclass(frozen=True)
class Ask:
    """What a completion is to be; `max_tokens` counts the token that ends it."""

    spec: RowSpec
    prompt: Sequence[int]
    max_tokens: int
    skip_special_tokens: bool


def read_ask(request: GenerateRequest, prompt: Sequence[int]) -> Ask:
    """The request's parameters, checked; RequestError for what this engine cannot do: nothing is silently left out."""
    given = request.sampling
    if unknown := sorted(set(given) - OBEYED):
        raise RequestError(f"sampling_parameters: this engine does without '{unknown[0]}'")
    if unknown := sorted(request.returns - RETURNED):
        raise RequestError(f"return_{unknown[0]}: this engine keeps no probabilities")
    extra = given.get("extra_args")
    if not isinstance(extra, Mapping) or set(extra) != {"acestep"}:
        raise RequestError("sampling_parameters: extra_args must hold 'acestep' and nothing else")
    if given.get("temperature", TEMPERATURE) != 0:
        raise RequestError("sampling_parameters: temperature must be 0, extra_args.acestep.sample says how to pick")
    max_tokens = given.get("max_tokens", MAX_TOKENS)
    if max_tokens < 1:
        raise RequestError(f"sampling_parameters: max_tokens must be 1 or more, not {max_tokens}")
    skip_special_tokens = given.get("skip_special_tokens", SKIP_SPECIAL_TOKENS)
    try:
        parsed = spec.parse(extra["acestep"])
    except ValueError as error:
        raise RequestError(str(error)) from None
    return Ask(parsed, prompt, max_tokens, skip_special_tokens)


class Request:
    """An open stream, closed once by whoever comes first: the loop, a cancel, an error. Safe from any thread."""

    def __init__(self, ask: Ask, text: TextStream, client: Client) -> None:
        self.ask = ask
        self._text = text
        self._client = client
        self._lock = threading.Lock()
        self._open = True

    @property
    def is_open(self) -> bool:
        return self._open

    def add(self, token: int, finish_reason: FinishReason | None) -> None:
        """Streams the text that this token completes; the token that means the end (`stop`) has none."""
        with self._lock:
            if self._open:
                self._open = finish_reason is None
                text = "" if finish_reason == "stop" else self._text.step(token)
                self._client.send(Delta(text, 1, finish_reason))

    def finish(self, finish_reason: FinishReason) -> None:
        """Closes the stream with no more text."""
        with self._lock:
            if self._open:
                self._open = False
                self._client.send(Delta("", 0, finish_reason))

    def fail(self, error: Exception) -> None:
        """Closes the stream with an error."""
        with self._lock:
            if self._open:
                self._open = False
                self._client.fail(error)

    def check_client(self) -> None:
        """Closes the stream if its client is gone."""
        with self._lock:
            if self._open and self._client.is_gone():
                self._open = False
                self._client.fail(Gone())
