"""The `acestep` model.py in this process: a scripted pb_utils whose models answer zeros, or wait to be let go on."""

import asyncio
import json
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline import facts
from pipeline.tokens import PromptTokenizer
from tests.support import python_stub
from tests.support.waiting import until

FINAL = 1


# Read once for all tests: it takes a second.
_load = cache(facts.load)
_tokenizer = cache(PromptTokenizer)


class Tensor(python_stub.Tensor):
    """A tensor that counts how often its memory was asked for."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        super().__init__(name, array)
        self.reads = 0

    def shape(self) -> list[int]:
        return list(self._array.shape)

    def as_numpy(self) -> np.ndarray:
        self.reads += 1
        return super().as_numpy()


@dataclass
class Response:
    """What was sent: an event's fields, or an error."""

    output_tensors: list[Tensor] = field(default_factory=list)
    error: Any = None

    def has_error(self) -> bool:
        return self.error is not None


class Sender:
    """The caller's end; as Triton 2.51, it must not be used after its last response."""

    def __init__(self) -> None:
        self.is_gone = self.is_over = False
        self.events: list[dict[str, Any]] = []
        self.error: str | None = None

    def is_cancelled(self) -> bool:
        assert not self.is_over, "asked after the last response"
        return self.is_gone

    def send(self, response: Response, flags: int = 0) -> None:
        assert not self.is_over, "sent after the last response"
        self.is_over = bool(flags)
        if response.error is not None:
            self.error = response.error
        else:
            self.events.append(json.loads(response.output_tensors[0].as_numpy()[0]))


class Request:
    """One request, on its way as soon as `start` is called."""

    def __init__(self, arrays: dict[str, np.ndarray], body: dict[str, Any]) -> None:
        text = np.array([json.dumps(body).encode()], np.object_)
        self.inputs = {name: Tensor(name, array) for name, array in {"request": text, **arrays}.items()}
        self.sender = Sender()
        self.task: asyncio.Task[None] | None = None

    def get_response_sender(self) -> Sender:
        return self.sender

    async def end(self) -> Sender:
        """The sender when the request is through."""
        assert self.task is not None
        await asyncio.wait_for(asyncio.shield(self.task), 10)
        return self.sender


class Shell:
    """A loaded model.py. Calls of a model named in `held` wait until `let_go`."""

    def __init__(self, repository: Path, places: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: set[str] = set()
        self.called: list[str] = []
        self.gauges: dict[str, float] = {}
        self._free = asyncio.Event()
        shell = self

        class InferenceRequest:
            def __init__(self, model_name: str, requested_output_names: list[str], inputs: list[Tensor], **_: Any):
                self.model, self.outputs = model_name, requested_output_names
                self.inputs = {each.name(): each.as_numpy() for each in inputs}

            async def async_exec(self) -> Response:
                shell.called.append(self.model)
                if any(self.model.endswith(name) for name in shell.held):
                    await shell._free.wait()
                await asyncio.sleep(0)
                arrays = zeros(self.model, self.inputs)
                return Response([Tensor(name, arrays[name]) for name in self.outputs])

        class Family:
            COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

            def __init__(self, name: str, description: str, kind: str) -> None:
                self._name = name

            def Metric(self, labels: dict[str, str], **_: Any) -> Any:
                key = self._name + "".join(f" {value}" for value in labels.values())

                def add(amount: float) -> None:
                    shell.gauges[key] = shell.gauges.get(key, 0) + amount
                return SimpleNamespace(increment=add, observe=lambda value: None)

        utils: Any = SimpleNamespace(
            TRITONSERVER_RESPONSE_COMPLETE_FINAL=FINAL, TRITONSERVER_MEMORY_CPU=0, Tensor=Tensor,
            InferenceRequest=InferenceRequest, InferenceResponse=Response, MetricFamily=Family,
            PreferredMemory=lambda *_: None, TritonError=lambda text, code=0: text,
            Logger=SimpleNamespace(log_error=print), get_input_tensor_by_name=lambda r, name: r.inputs.get(name),
            get_output_tensor_by_name=lambda r, name: next(t for t in r.output_tensors if t.name() == name))
        for code in ("INVALID_ARG", "CANCELLED", "UNAVAILABLE", "INTERNAL"):
            setattr(utils.TritonError, code, code)
        monkeypatch.delitem(sys.modules, "pipeline.bls", raising=False)
        monkeypatch.setattr(sys, "path", list(sys.path))
        module = python_stub.load(monkeypatch, repository / "acestep" / "1" / "model.py", utils, "acestep_shell")
        monkeypatch.setattr(facts, "load", _load)
        monkeypatch.setattr(module, "PromptTokenizer", _tokenizer)
        self.model = module.TritonPythonModel()
        self.model.initialize({"model_config": json.dumps({"parameters": {
            "songs_in_flight": {"string_value": str(places)}, "dit_token_budget": {"string_value": "4096"}}})})
        monkeypatch.delitem(sys.modules, "pipeline.bls", raising=False)

    def start(self, arrays: dict[str, np.ndarray] | None = None, **body: Any) -> Request:
        """Sends a request."""
        request = Request(arrays or {}, {"kind": "song", "duration": 10, "steps": 2, "seeds": [1]} | body)
        request.task = asyncio.create_task(self.model.execute([request]))
        return request

    async def until_called(self, model: str) -> None:
        """Until a model of that name (or end of a name) has been called."""
        await until(lambda: any(name.endswith(model) for name in self.called), 10)

    def let_go(self) -> None:
        """What waits goes on, and nothing is held any more."""
        self.held.clear()
        self._free.set()

    def close(self) -> None:
        self.model.finalize()


def zeros(model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Answers of the right shapes."""
    match model.rsplit("-", 1)[-1]:
        case "conditioning":
            return {"encoder_hidden_states": np.zeros((1, 8, 64), np.float32),
                    "encoder_mask": np.ones((1, 8), np.bool_)}
        case "dit":
            return {"velocity": np.zeros_like(inputs["hidden_states"])}
        case "tokenize":
            return {"codes": np.zeros((1, inputs["latents"].shape[1] // 5), np.int64)}
        case "detokenize":
            return {"latents": np.zeros((1, inputs["codes"].shape[1] * 5, 64), np.float32)}
        case "vae_encoder":
            frames = inputs["audio"].shape[2] // 1_920
            return {"mean": np.zeros((1, frames, 64), np.float32), "std": np.ones((1, frames, 64), np.float32)}
        case "vae_decoder":
            return {"audio": np.zeros((1, 2, inputs["latents"].shape[1] * 1_920), np.float32)}
    raise AssertionError(model)
