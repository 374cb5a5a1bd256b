"""The launcher's own client of Triton: a few gRPC calls with deadlines, no numpy, no tensors."""

from __future__ import annotations

import json
import re
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc


class TritonError(Exception):
    """A call that failed; `str()` is Triton's message in one line."""


class TritonControl:
    """Liveness, readiness, loading and the canary request of one server."""

    def __init__(self, address: str) -> None:
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
        self._channel = grpc.insecure_channel(address, options=options)
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def live(self) -> bool:
        """Whether the server answers; models may still be missing."""
        try:
            return bool(self._stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=1).live)
        except grpc.RpcError:
            return False

    def ready(self, model: str) -> bool:
        """Triton's own word on one model; it stays true when the model's stub is dead."""
        try:
            return bool(self._stub.ModelReady(service_pb2.ModelReadyRequest(name=model), timeout=1).ready)
        except grpc.RpcError:
            return False

    def load(self, model: str, timeout: float) -> None:
        """(Re)load one model if its files changed, and wait for it; TritonError with the reason if it does not load."""
        request = service_pb2.RepositoryModelLoadRequest(model_name=model)
        try:
            self._stub.RepositoryModelLoad(request, timeout=timeout)
        except grpc.RpcError as error:
            raise TritonError(_load_text(error)) from None

    def unload(self, model: str) -> None:
        """Take a model out of service; returns before it is gone."""
        try:
            self._stub.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name=model), timeout=2)
        except grpc.RpcError as error:
            raise TritonError(_text(error)) from None

    def ping(self, timeout: float) -> None:
        """The canary: a request through the whole pipeline model that answers at once; TritonError if it does not."""
        self.ask("ping", timeout)

    def ask(self, kind: str, timeout: float) -> None:
        """A request of `kind` that has nothing else to say, to its end; TritonError if it fails."""
        text = json.dumps({"v": 1, "kind": kind}).encode()
        request = service_pb2.ModelInferRequest(model_name="acestep")
        request.inputs.add(name="request", datatype="BYTES", shape=[1])
        request.raw_input_contents.append(len(text).to_bytes(4, "little") + text)
        try:
            answers = list(self._stub.ModelStreamInfer(iter([request]), timeout=timeout))
        except grpc.RpcError as error:
            raise TritonError(_text(error)) from None
        for answer in answers:
            if answer.error_message:
                raise TritonError(_line(answer.error_message))
        if not answers:
            raise TritonError("no answer")


def _text(error: grpc.RpcError) -> str:
    code, details = error.code(), error.details()
    return f"no answer in time ({code.name})" if code is grpc.StatusCode.DEADLINE_EXCEEDED else _line(str(details))


def _load_text(error: grpc.RpcError) -> str:
    """Why a model does not load, without the wrapping that says that it does not and the place in our code."""
    text = re.sub(r"^load failed for model '\S+': version \d+ is at UNAVAILABLE state: ", "", _text(error))
    text = re.sub(r"^[\w ]+: (TritonModelException: )?(unable to load model '\S+': )?", "", text)
    return re.sub(r"( At: \S+\(\d+\): \w+)* ?;$", "", text)


def _line(text: str) -> str:
    return " ".join(text.split())
