"""The engine: requests in from any thread, one thread that writes one generation after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable

from engine.guided_loop import write
from engine.language_model import LanguageModel
from engine.request import Client, FinishReason, Request, read_ask
from engine.text import TextStream
from engine.waiting_room import Generation, WaitingRoom
from lm_guidance.contract import Delta, GenerateRequest, RequestError

PATIENCE = 10.0  # seconds that a half waits for its partner
LOOK_AROUND = 0.5  # seconds between two looks at what waits, while nothing runs


class Engine:
    """Serves requests until `close`; `log` gets the faults, one line each."""

    def __init__(self, lm: LanguageModel, log: Callable[[str], None], patience: float = PATIENCE) -> None:
        self._lm = lm
        self._log = log
        self._room = WaitingRoom(patience)
        self._thread = threading.Thread(target=self._work, name="lm", daemon=True)
        self._thread.start()

    def submit(self, request: GenerateRequest, prompt: list[int], client: Client) -> None:
        """Takes a request on and answers it in time through its client; RequestError for one that cannot be served."""
        if not self._thread.is_alive():
            raise RuntimeError("the engine has ended")
        ask = read_ask(request, prompt)
        if ask.spec.role == "cancel":
            self._room.cancel(ask.spec.song)
            client.send(Delta("", 0, "stop"))
        elif ask.spec.role == "ask":
            client.send(Delta("", 0, "stop" if self._room.knows(ask.spec.song) else "abort"))
        elif not prompt:
            raise RequestError("text_input: must not be empty")
        elif len(prompt) + ask.max_tokens > self._lm.max_model_len:
            raise RequestError(f"prompt and max_tokens are longer than max_model_len {self._lm.max_model_len}")
        else:
            text = TextStream(self._lm.tokenizer, prompt, ask.skip_special_tokens)
            self._room.admit(Request(ask, text, client))

    def close(self) -> None:
        """Ends what is open and the thread, at the latest after the step that it is in."""
        self._room.close()
        self._thread.join()

    def _work(self) -> None:
        while not self._room.is_closed:
            self._room.sweep()
            generation = self._room.next(LOOK_AROUND)
            if generation is None:
                continue
            try:
                for request in generation.requests:
                    request.check_client()
                if generation.is_wanted:
                    self._serve(generation)
                generation.abort()
            except Exception as error:
                self._log(f"generation failed: {error!r}")
                for request in generation.requests:
                    request.fail(error)

    def _serve(self, generation: Generation) -> None:
        requests, ask = generation.requests, generation.requests[0].ask
        for count, token in enumerate(write(self._lm, ask.spec, [each.ask.prompt for each in requests]), start=1):
            reason = self._finish_reason(token, count, ask.max_tokens)
            for request in requests:
                request.add(token, reason)
                request.check_client()
            self._room.sweep()
            if not generation.is_wanted:
                return

    def _finish_reason(self, token: int, count: int, max_tokens: int) -> FinishReason | None:
        if token == self._lm.eos:
            return "stop"
        return "length" if count == max_tokens else None
