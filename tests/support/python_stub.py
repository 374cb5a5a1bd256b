"""A `triton_python_backend_utils` for tests without Triton: tensors that lie where they would, or come out wrong."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CPU, GPU = "TRITONSERVER_MEMORY_CPU", "TRITONSERVER_MEMORY_GPU"


@dataclass(frozen=True)
class PreferredMemory:
    """Where a caller wants the outputs of its request."""

    preferred_memory_type: str
    preferred_device_id: int = 0


class Tensor:
    """As the stub's: what lies on a GPU is no NumPy array."""

    def __init__(self, name: str, array: Any, memory: str = CPU) -> None:
        self._name, self._array, self._memory = name, array, memory

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Any:
        if self._memory != CPU:
            raise RuntimeError("Tensor is stored in GPU and cannot be converted to NumPy.")
        return self._array

    def to_dlpack(self) -> Any:
        return self._array

    @classmethod
    def from_dlpack(cls, name: str, array: Any) -> Tensor:
        """A tensor that is made from memory, as those of requests and responses are."""
        return cls(name, array)


class SpoiltTensor(Tensor):
    """As the 2.51 stub's with numpy 2: every element is read where the first one lies."""

    @classmethod
    def from_dlpack(cls, name: str, array: Any) -> Tensor:
        return cls(name, np.full_like(array, array.flat[0]))


def stub(answer: Callable[[str], Mapping[str, Any]] = lambda model: {}, tensor: type[Tensor] = Tensor) -> ModuleType:
    """The module. `answer` gives a called model's outputs; they lie on a GPU unless the caller wants them elsewhere."""
    module: Any = ModuleType("triton_python_backend_utils")

    class InferenceRequest:
        def __init__(
            self, *, model_name: str, requested_output_names: list[str], inputs: list[Tensor],
            preferred_memory: PreferredMemory | None = None,
        ) -> None:
            self._model, self._names, self._inputs = model_name, requested_output_names, inputs
            self._memory = GPU if preferred_memory is None else preferred_memory.preferred_memory_type

        async def async_exec(self) -> Any:
            outputs = answer(self._model)
            tensors = {name: tensor(name, outputs[name], self._memory) for name in self._names}
            return SimpleNamespace(has_error=lambda: False, tensors=tensors)

    module.Tensor, module.InferenceRequest, module.PreferredMemory = tensor, InferenceRequest, PreferredMemory
    module.TRITONSERVER_MEMORY_CPU, module.TRITONSERVER_MEMORY_GPU = CPU, GPU
    module.TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
    module.get_output_tensor_by_name = lambda response, name: response.tensors[name]
    return module


def load(monkeypatch: Any, path: str | Path, pb_utils: Any, name: str = "model") -> Any:
    """The module of a file of this checkout, or at an absolute path, run on that stub; nothing else gets to see it.

    A module of a package needs its `name`, for what it imports from there.
    """
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", pb_utils)
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
