"""The requests in hand: read, generated, answered as the text comes, cancelled."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import triton_python_backend_utils as pb_utils
from vllm import CompletionOutput, SamplingParams
from vllm.exceptions import VLLMClientError
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.exceptions import EngineDeadError

from lm_guidance import contract
from lm_guidance.contract import Delta, GenerateRequest, RequestError
from serving.engine import Engine
from serving.failure import one_line

CANCEL_INTERVAL = 0.05  # seconds between two looks at who has gone
FAIL_TIMEOUT = 1.0
DEAD = "the LM engine died"
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


@dataclass
class _Open:
    """A request that is not answered to its end; `error` is why its work is being cancelled.

    After the last response its sender must not be asked anything: Triton 2.51 looks into freed memory and dies.
    """

    request: Any
    sender: Any
    error: Any = None
    work: Future[None] = field(default_factory=Future)
    ended: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_gone(self) -> bool:
        """Whether the client has left."""
        with self.lock:
            return not self.ended and bool(self.sender.is_cancelled())

    def send(self, response: Any, flags: int) -> None:
        """One response, none after the last; the lock keeps `is_gone` out while the last one goes."""
        with self.lock:
            if not self.ended:
                self.ended = bool(flags)
                self.sender.send(response, flags)


class Generations:
    """All open requests of the model."""

    def __init__(self, engine: Engine, count: Callable[[int], None] | None) -> None:
        self._engine = engine
        self._count = count or (lambda number: None)
        self._open: dict[str, _Open] = {}
        # One thread answers: the engine's loop goes on meanwhile, and a client that is slow gets more text at a time.
        self._answers = ThreadPoolExecutor(1, "answers")
        self._closed = threading.Event()
        threading.Thread(target=self._look_for_cancelled, name="cancellation", daemon=True).start()

    def begin(self, request: Any) -> None:
        """Starts one request; it answers for itself."""
        key = uuid4().hex
        each = self._open[key] = _Open(request, request.get_response_sender())
        self._count(len(self._open))
        each.work = self._engine.run(self._answer(key, each))

    def fail(self) -> None:
        """The engine is dead: ends every open request with UNAVAILABLE and waits until they have been told."""
        self._cancel_all(pb_utils.TritonError(DEAD, pb_utils.TritonError.UNAVAILABLE))

    def close(self) -> None:
        """Nothing begins or is looked at any more; Triton calls this when no request is open."""
        self._closed.set()
        self._cancel_all(pb_utils.TritonError(contract.CANCELLED, pb_utils.TritonError.CANCELLED))

    def _cancel_all(self, error: Any) -> None:
        for each in list(self._open.values()):
            self._cancel(each, error)
        deadline = time.monotonic() + FAIL_TIMEOUT
        while self._open and time.monotonic() < deadline:
            time.sleep(0.01)

    def _cancel(self, each: _Open, error: Any) -> None:
        if each.error is None:
            each.error = error
            each.work.cancel()

    def _look_for_cancelled(self) -> None:
        """The engine says nothing of a request that waits, so that its answers are no occasion to look."""
        while not self._closed.wait(CANCEL_INTERVAL):
            for each in list(self._open.values()):
                if each.is_gone():
                    self._cancel(each, pb_utils.TritonError(contract.CANCELLED, pb_utils.TritonError.CANCELLED))

    async def _answer(self, key: str, each: _Open) -> None:
        error = pb_utils.TritonError(f"{contract.FAILED}it has no end", pb_utils.TritonError.INTERNAL)
        try:
            await self._generate(key, each)
        except asyncio.CancelledError:
            error = each.error
        except EngineDeadError:
            error = pb_utils.TritonError(DEAD, pb_utils.TritonError.UNAVAILABLE)
        except (RequestError, VLLMClientError, ValueError, TypeError) as refused:
            error = pb_utils.TritonError(contract.FAILED + one_line(str(refused)), pb_utils.TritonError.INVALID_ARG)
        except Exception as problem:  # whatever it is, the client must hear of it
            inner = problem.__cause__ or problem  # EngineGenerateError says nothing itself
            pb_utils.Logger.log_error(f"{contract.FAILED}{inner!r}")
            error = pb_utils.TritonError(contract.FAILED + one_line(repr(inner)), pb_utils.TritonError.INTERNAL)
        self._answers.submit(self._end, key, each, error)  # not awaited: no late cancellation may stop it

    def _end(self, key: str, each: _Open, error: Any) -> None:
        """Ends a request that has not had its last response: Triton keeps a model for as long as one is open."""
        each.send(pb_utils.InferenceResponse(error=error), FINAL)
        del self._open[key]
        self._count(len(self._open))

    async def _generate(self, key: str, each: _Open) -> None:
        request = contract.read(lambda name: _array(each.request, name), each.request.parameters())
        outputs = self._engine.generate(request.prompt, sampling_params(request), key)
        async for output in outputs:
            deltas = [_delta(completion) for completion in output.outputs]
            arrays = contract.write(request, deltas, len(output.prompt_token_ids or ()))
            response = pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in arrays.items()])
            await self._send(each, response, FINAL if output.finished else 0)

    async def _send(self, each: _Open, response: Any, flags: int) -> None:
        await asyncio.get_running_loop().run_in_executor(self._answers, each.send, response, flags)


def sampling_params(request: GenerateRequest) -> SamplingParams:
    """vLLM's parameters of a request; vLLM's own error, or RequestError, for what they cannot be."""
    given = dict(request.sampling)
    if request.stream and given.get("n", 1) != 1:
        raise RequestError("sampling_parameters: n must be 1 when streaming")
    if "structured_outputs" in given:
        given["structured_outputs"] = StructuredOutputsParams(**given["structured_outputs"])
    return SamplingParams(
        **given, output_kind=RequestOutputKind.DELTA if request.stream else RequestOutputKind.FINAL_ONLY
    )


def _array(request: Any, name: str) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def _delta(completion: CompletionOutput) -> Delta:
    logprobs = None
    if completion.logprobs is not None:
        logprobs = [
            {token: {"logprob": each.logprob, "rank": each.rank, "decoded_token": each.decoded_token}
             for token, each in place.items()}
            for place in completion.logprobs
        ]
    return Delta(
        completion.text, len(completion.token_ids), completion.finish_reason, completion.cumulative_logprob, logprobs
    )
