"""The LM's engines, called by business-logic scripting: each row is one stream, read by a thread of its own."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .bls import is_away
from .errors import FAULT, NOT_READY, SongError
from .lm.engine import Piece
from .metrics import LM_ROWS, LM_TOKENS, Meter

_OUTPUTS = ("text_output", "finish_reason", "num_input_tokens", "num_output_tokens")


class TritonEngine:
    """An Engine behind the tensors of Triton's official vLLM backend."""

    def __init__(self, model: str, meter: Meter) -> None:
        self._model = model
        self._meter = meter

    async def stream(self, prompt: str, parameters: Mapping[str, Any]) -> AsyncGenerator[Piece, None]:
        """See Engine. A stream that is left before its end is read to its end by its thread: Triton cannot take a
        call back, so whoever leaves also tells the engine to end the song."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Piece | SongError | None] = asyncio.Queue()

        def put(item: Piece | SongError | None) -> None:
            try:
                loop.call_soon_threadsafe(pieces.put_nowait, item)
            except RuntimeError:
                return  # the loop has ended with its process

        # Not one of a pool's: the streams of a killed engine never end, and a pool would run out of threads.
        threading.Thread(target=self._read, args=(prompt, parameters, put), daemon=True).start()
        while (item := await pieces.get()) is not None:
            if isinstance(item, SongError):
                raise item
            if item.finish:
                self._meter.add(LM_ROWS, 1, model=self._model)
                self._meter.add(LM_TOKENS, item.completion_tokens, model=self._model)
            yield item

    def _read(self, prompt: str, parameters: Mapping[str, Any], put: Any) -> None:
        try:
            for piece in self._pieces(prompt, parameters):
                put(piece)
            put(None)
        except SongError as error:
            put(error)
        except Exception as error:  # pb_utils raises classes of its own
            put(_failure(self._model, str(error)))

    def _pieces(self, prompt: str, parameters: Mapping[str, Any]) -> Iterator[Piece]:
        def flag(name: str) -> pb_utils.Tensor:
            return pb_utils.Tensor(name, np.array([True]))

        request = pb_utils.InferenceRequest(
            model_name=self._model,
            requested_output_names=list(_OUTPUTS),
            inputs=[
                pb_utils.Tensor("text_input", np.array([prompt.encode()], np.object_)),
                pb_utils.Tensor("sampling_parameters", np.array([json.dumps(parameters).encode()], np.object_)),
                *map(flag, ("stream", "exclude_input_in_output", "return_finish_reason", "return_num_input_tokens",
                            "return_num_output_tokens")),
            ],
        )
        asked = made = 0
        for response in request.exec(decoupled=True):
            if response.has_error():
                raise _failure(self._model, response.error().message())
            if not response.output_tensors():
                continue  # the empty response that closes a stream
            values = {tensor.name(): tensor.as_numpy().reshape(-1)[0] for tensor in response.output_tensors()}
            asked = max(asked, int(values.get("num_input_tokens", 0)))
            made += int(values.get("num_output_tokens", 0))
            finish = values.get("finish_reason", b"None").decode()
            yield Piece(values["text_output"].decode(), "" if finish == "None" else finish, asked, made)


def _failure(model: str, text: str) -> SongError:
    status = NOT_READY if is_away(text) else FAULT
    return SongError(status, f"model {model} {'is not available' if status == NOT_READY else 'failed'}: {text}")
