"""Triton's shell around the PyTorch engine: tensors in, tensors out."""

# ruff: noqa: E402
# The stub's interpreter starts in the C locale, in which torch's import fails on the first file that is not ASCII.
import locale

locale.setlocale(locale.LC_ALL, "C.UTF-8")

import os

# Read when torch is loaded. Threads that spin while they wait take the cores from each other and from all other models:
# 2 codes/s instead of 80 on a machine that is busy (embedded LM, 2 cores).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import triton_python_backend_utils as pb_utils

from contract.stub import corruption
from engine import language_model
from engine.engine import Engine
from engine.language_model import Settings
from engine.request import Gone
from lm_guidance import contract
from lm_guidance.contract import Delta, GenerateRequest, RequestError

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """The `lm_pt` model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the checkpoint. Errors: RuntimeError when the stub corrupts tensors with this numpy."""
        if problem := corruption(pb_utils):
            raise RuntimeError(problem)
        self._lm = language_model.load(Settings.read(Path(__file__).with_name("model.json")))
        self._engine = Engine(self._lm, pb_utils.Logger.log_error)

    def execute(self, requests: Sequence[Any]) -> None:
        """Hands each request to the engine, which answers it later: the stub stays free for cancels."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                wish = contract.read(lambda name, of=request: _array(of, name), request.parameters())
                prompt = self._lm.encode(wish.prompt)
                self._engine.submit(wish, prompt, _Stream(wish, len(prompt), sender))
            except Exception as error:
                _fail(sender, error)

    def finalize(self) -> None:
        """Ends the engine's thread."""
        self._engine.close()


class _Stream:
    """A Triton response stream as the engine's client; one response at the end if the request does not stream."""

    def __init__(self, request: GenerateRequest, input_tokens: int, sender: Any) -> None:
        self._request = request
        self._input_tokens = input_tokens
        self._sender = sender
        self._kept: list[Delta] = []

    def send(self, delta: Delta) -> None:
        last = delta.finish_reason is not None
        if not self._request.stream:
            self._kept.append(delta)
            if not last:
                return
            text, tokens = "".join(each.text for each in self._kept), sum(each.tokens for each in self._kept)
            delta = Delta(text, tokens, delta.finish_reason)
        arrays = contract.write(self._request, [delta], self._input_tokens)
        tensors = [pb_utils.Tensor(name, np.atleast_1d(array)) for name, array in arrays.items()]
        self._sender.send(pb_utils.InferenceResponse(output_tensors=tensors), flags=FINAL if last else 0)

    def fail(self, error: Exception) -> None:
        _fail(self._sender, error)

    def is_gone(self) -> bool:
        return bool(self._sender.is_cancelled())


def _array(request: Any, name: str) -> contract.Array | None:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def _fail(sender: Any, error: Exception) -> None:
    kind = pb_utils.TritonError
    if isinstance(error, Gone):
        failure = kind(contract.CANCELLED, kind.CANCELLED)
    elif isinstance(error, RequestError):
        failure = kind(f"{contract.FAILED}{error}", kind.INVALID_ARG)
    else:
        # The log gets the whole; the client one line without the server's paths.
        pb_utils.Logger.log_error(f"request failed: {error!r}")
        failure = kind(f"{contract.FAILED}internal error ({type(error).__name__})", kind.INTERNAL)
    sender.send(pb_utils.InferenceResponse(output_tensors=[], error=failure), flags=FINAL)
