"""Engine arguments: what `model.json` says, and what a host without a GPU adds."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from dataclasses import dataclass
from typing import Any

from serving.failure import LoadError

KV_SETTING = "LM_CPU_KV_GIB"
GIB = 1 << 30
# As on a GPU. On a CPU vLLM starts a worker process of its own, to bind it to cores; here it would stand in the way of
# the other models there, and importing vLLM a third time takes ten seconds.
IN_THE_ENGINE = "vllm.v1.executor.uniproc_executor.UniProcExecutor"


@dataclass(frozen=True)
class EngineArguments:
    """AsyncEngineArgs as a mapping; `kv_gib` is the KV cache that the setting asks for, None on a GPU."""

    values: dict[str, Any]
    kv_gib: float | None

    @classmethod
    def read(cls, path: str) -> EngineArguments:
        """Those of a model.json, completed for this host; LoadError names the key that stands against it."""
        values = _object(path)
        _place(values, path)
        _check(values)
        # Only now: importing vLLM takes seconds, and a wrong folder is soon said.
        from vllm import AsyncEngineArgs
        from vllm.platforms import current_platform

        if unknown := sorted(set(values) - {field.name for field in dataclasses.fields(AsyncEngineArgs)}):
            raise LoadError(f"model.json: vLLM has no engine argument '{unknown[0]}'")
        if not current_platform.is_cpu():
            return cls(values, None)
        gib = _kv_gib(os.environ.get(KV_SETTING, "1"))
        # A cache of known size also spares the start a share of all the memory.
        ours: dict[str, Any] = {"kv_cache_memory_bytes": int(gib * GIB)}
        if values.get("tensor_parallel_size", 1) == values.get("pipeline_parallel_size", 1) == 1:
            ours["distributed_executor_backend"] = IN_THE_ENGINE
        # Compiling needs a C++ compiler.
        return cls({**ours, **values, "enforce_eager": True}, gib)

    @property
    def is_on_cpu(self) -> bool:
        """Whether the engine has no GPU."""
        return self.kv_gib is not None

    @property
    def longest(self) -> int:
        """Most tokens of one request, as far as model.json says; it bounds the histograms."""
        return int(self.values.get("max_model_len") or 8192)

    def explain(self, reason: str) -> str:
        """The reason of a failed start, with the setting that mends it where there is one."""
        if self.is_on_cpu and "kv cache" in reason.lower():
            return f"{reason.rstrip('.')}; {KV_SETTING} is {self.kv_gib:g}"
        return reason


def _object(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
    except OSError as error:
        raise LoadError(f"model.json: {error.strerror}") from None
    except ValueError as error:
        raise LoadError(f"model.json: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise LoadError("model.json: must be a JSON object")
    return values


def _place(values: dict[str, Any], path: str) -> None:
    """Makes a checkpoint that is named from the model repository one with an absolute path.

    The official backend has the server's working directory for it, which is to be the repository there. Here that is
    the folder of the logs, because the repository may be read-only.
    """
    if isinstance(values.get("model"), str):
        repository = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(path))))
        values["model"] = os.path.join(repository, values["model"])


def _check(values: dict[str, Any]) -> None:
    if values.get("enable_lora"):
        raise LoadError("model.json: enable_lora is not available in the embedded server")
    model = values.get("model")
    if not isinstance(model, str) or not os.path.isfile(os.path.join(model, "config.json")):
        raise LoadError(f"model.json: 'model' must be the folder of a checkpoint, but {model} has no config.json")
    plugs = [str(values.get("scheduler_cls", "vllm.")).rpartition(".")[0]]
    plugs += [str(plug).partition(":")[0] for plug in values.get("logits_processors") or ()]
    for module in plugs:
        if not _importable(module):
            raise LoadError(f"model.json: there is no module {module}: `make setup` installs lm_guidance")


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _kv_gib(text: str) -> float:
    try:
        gib = float(text)
    except ValueError:
        gib = 0.0
    if not 0 < gib < float("inf"):
        raise LoadError(f"{KV_SETTING} must be a number above 0, not '{text}'")
    return gib
