"""The LM's engines over Triton's own gRPC service: each row is one stream.

Business-logic scripting, by which the pipeline calls its other models, is not up to this on Triton 2.51: with a dozen
streams of a decoupled model open, the calling stub or the whole server died within a minute (bad addresses in
InferResponse and message queue). A gRPC stream does the same in one asyncio loop, and closing it cancels the row.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import InferResult, service_pb2, service_pb2_grpc

from ..errors import broken
from ..metrics import LM_ROWS, LM_TOKENS, Meter
from .engine import Piece

# Where this server's gRPC service listens; the launcher sets it where it is not the port of the official containers.
ADDRESS = os.environ.get("ACESTEP_TRITON_GRPC", "localhost:8001")
_END_SECONDS = 5.0
_FLAGS = ("stream", "exclude_input_in_output", "return_finish_reason", "return_num_input_tokens",
          "return_num_output_tokens")


class Server:
    """The connection to this Triton server; opened by the first stream, in its event loop."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stub: Any = None

    def stub(self) -> Any:
        if self._stub is None:
            self._stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.aio.insecure_channel(self._address))
        return self._stub


class TritonEngine:
    """An Engine behind the tensors of Triton's official vLLM backend."""

    def __init__(self, model: str, server: Server, meter: Meter) -> None:
        self._model = model
        self._server = server
        self._meter = meter

    async def stream(self, prompt: str, parameters: Mapping[str, Any]) -> AsyncGenerator[Piece, None]:
        """See Engine."""
        call = self._server.stub().ModelStreamInfer(_once(self._request(prompt, parameters)))
        asked = made = 0
        try:
            async for response in call:
                if response.error_message:
                    await _read_out(call)
                    raise broken(self._model, response.error_message)
                values = _values(response.infer_response)
                if not values:
                    continue  # the empty response that closes a stream
                asked = max(asked, int(values.get("num_input_tokens", 0)))
                made += int(values.get("num_output_tokens", 0))
                finish = values.get("finish_reason", b"None").decode()
                piece = Piece(values["text_output"].decode(), "" if finish == "None" else finish, asked, made)
                if piece.finish:
                    self._meter.add(LM_ROWS, 1, model=self._model)
                    self._meter.add(LM_TOKENS, made, model=self._model)
                    await _read_out(call)
                yield piece
        except grpc.RpcError as error:
            code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else ""
            raise broken(self._model, f"unavailable: {code}") from None
        finally:
            call.cancel()

    def _request(self, prompt: str, parameters: Mapping[str, Any]) -> Any:
        request = service_pb2.ModelInferRequest(model_name=self._model)
        for name, text in (("text_input", prompt), ("sampling_parameters", json.dumps(parameters))):
            request.inputs.add(name=name, datatype="BYTES", shape=[1])
            data = text.encode()
            request.raw_input_contents.append(len(data).to_bytes(4, "little") + data)
        for name in _FLAGS:
            request.inputs.add(name=name, datatype="BOOL", shape=[1])
            request.raw_input_contents.append(b"\1")
        return request


async def _read_out(call: AsyncIterable[Any]) -> None:
    """Until the stream has ended by itself: of one that is cancelled as it ends Triton 2.51 leaks 2 KB and more."""
    with suppress(TimeoutError, grpc.RpcError):
        async with asyncio.timeout(_END_SECONDS):
            async for _ in call:
                pass


def _values(response: Any) -> dict[str, Any]:
    """First value of every output of a response."""
    result = InferResult(response)
    arrays = {output.name: result.as_numpy(output.name) for output in response.outputs}
    return {name: np.ravel(array)[0] for name, array in arrays.items() if array is not None}


async def _once(message: Any) -> AsyncGenerator[Any, None]:
    yield message
