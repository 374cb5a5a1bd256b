"""Triton's `onnxruntime` backend as a Python-based one, for hosts where the official C++ backend is absent.

It serves the same model folders by the same contract (triton-inference-server/onnxruntime_backend): `1/model.onnx` or
`default_model_filename`, names, data types and shapes of the configuration checked against the graph, requests of one
Triton batch run as one, the official parameter keys. What it does not know it refuses: a setting that is silently
ignored here would do something else on the official backend.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from contract.stub import corruption

Array = NDArray[Any]

DTYPES = {
    "tensor(float)": "TYPE_FP32", "tensor(double)": "TYPE_FP64", "tensor(float16)": "TYPE_FP16",
    "tensor(int8)": "TYPE_INT8", "tensor(int16)": "TYPE_INT16", "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64", "tensor(uint8)": "TYPE_UINT8", "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32", "tensor(uint64)": "TYPE_UINT64", "tensor(bool)": "TYPE_BOOL",
    "tensor(string)": "TYPE_STRING",
}
THREADS = ("intra_op_thread_count", "inter_op_thread_count")
SWITCHES = ("enable_mem_arena", "enable_mem_pattern")
SESSION_ENTRY = "session.use_device_allocator_for_initializers"
RUN_ENTRY = "memory.enable_memory_arena_shrinkage"
CUDA_ONLY = ("cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream")
KEYS = frozenset({"execution_mode", *THREADS, *SWITCHES, SESSION_ENTRY, RUN_ENTRY, *CUDA_ONLY})
GRAPH_LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST_KEPT = 32 << 20  # the most that glibc allows
IDLE_SECONDS = 5.0
NOT_HERE = ("sequence_batching", "batch_input", "batch_output", "model_operations")


class ConfigError(Exception):
    """The model's configuration cannot be served; one line."""


def _parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """Parameter texts by key; ConfigError for a key that the official backend does not know."""
    given = {key: str(value.get("string_value", "")) for key, value in config.get("parameters", {}).items()}
    if unknown := sorted(set(given) - KEYS):
        raise ConfigError(f"unknown parameter '{unknown[0]}'; the onnxruntime backend knows {', '.join(sorted(KEYS))}")
    return given


def _whole(parameters: Mapping[str, str], key: str, allowed: range) -> int:
    text = parameters.get(key, "0")
    if not re.fullmatch(r"\d{1,6}", text) or int(text) not in allowed:
        raise ConfigError(f"parameter '{key}' must be a whole number from 0 to {allowed[-1]}, not '{text}'")
    return int(text)


def _switch(text: str, key: str) -> bool:
    if text.lower() not in ("0", "1", "true", "false"):
        raise ConfigError(f"parameter '{key}' must be 0, 1, true or false, not '{text}'")
    return text.lower() in ("1", "true")


def session_options(config: Mapping[str, Any], parameters: Mapping[str, str]) -> onnxruntime.SessionOptions:
    """ONNX Runtime's options for a model configuration; ConfigError for a value it cannot have."""
    options = onnxruntime.SessionOptions()
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    if level not in GRAPH_LEVELS:
        raise ConfigError(f"optimization.graph.level must be -1, 0, 1 or 2, not {level}")
    options.graph_optimization_level = GRAPH_LEVELS[level]
    if _whole(parameters, "execution_mode", range(2)):
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.intra_op_num_threads = _whole(parameters, THREADS[0], range(1025))
    options.inter_op_num_threads = _whole(parameters, THREADS[1], range(1025))
    for key, attribute in zip(SWITCHES, ("enable_cpu_mem_arena", "enable_mem_pattern"), strict=True):
        if key in parameters:
            setattr(options, attribute, _switch(parameters[key], key))
    if SESSION_ENTRY in parameters:
        options.add_session_config_entry(SESSION_ENTRY, parameters[SESSION_ENTRY])
    # Many sessions share few cores: a pool that spins while it has no work takes them from the one that has.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _providers(config: Mapping[str, Any], parameters: Mapping[str, str], arguments: Mapping[str, str]) -> list[Any]:
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    if accelerators.get("cpu_execution_accelerator"):
        raise ConfigError("cpu_execution_accelerator is not available in the embedded server")
    if arguments["model_instance_kind"] != "GPU":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ConfigError("a GPU instance needs the package onnxruntime-gpu; ACESTEP_DEVICE=cpu serves on the CPU")
    cuda = {key: value for key, value in parameters.items() if key in CUDA_ONLY}
    cuda["device_id"] = arguments["model_instance_device_id"]
    for accelerator in accelerators.get("gpu_execution_accelerator", []):
        if accelerator["name"] != "cuda":
            raise ConfigError(f"accelerator '{accelerator['name']}' is not available in the embedded server")
        cuda |= accelerator.get("parameters", {})
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]


@dataclass(frozen=True)
class Port:
    """One tensor of the configuration beside the graph's; `graph_dims` has -1 for what may vary, None for a scalar."""

    name: str
    optional: bool
    is_text: bool
    scalar_dims: tuple[int, ...] | None


def _dims(node: Any) -> list[int]:
    return [dim if isinstance(dim, int) and dim >= 0 else -1 for dim in node.shape]


def _port(io: Mapping[str, Any], nodes: Mapping[str, Any], max_batch: int, exact: bool) -> Port:
    """Checks one configured tensor against the graph by the official backend's rules (`exact` for outputs)."""
    name, what = io["name"], "output" if exact else "input"
    if name not in nodes:
        raise ConfigError(f"unexpected {what} '{name}'; the graph has {', '.join(sorted(nodes))}")
    node = nodes[name]
    graph_dtype = DTYPES.get(node.type)
    if graph_dtype is None:
        raise ConfigError(f"{what} '{name}' has the type {node.type}, which this backend cannot pass on")
    if io["data_type"] != graph_dtype:
        wanted_dtype = io["data_type"]
        raise ConfigError(f"configuration expects datatype {wanted_dtype} for {what} '{name}', model has {graph_dtype}")
    if io.get("allow_ragged_batch"):
        raise ConfigError(f"{what} '{name}': allow_ragged_batch is not available in the embedded server")
    if io.get("optional") and max_batch:
        raise ConfigError(f"optional {what} '{name}' is not supported for models that support batching")
    wanted = [int(dim) for dim in (io["reshape"].get("shape", []) if "reshape" in io else io["dims"])]
    dims = _dims(node)
    if not dims:
        if any(dim != 1 for dim in wanted):
            raise ConfigError(f"scalar tensor '{name}': the configuration must say 1, not {wanted}")
        return Port(name, bool(io.get("optional")), graph_dtype == "TYPE_STRING", tuple(wanted))
    if max_batch and dims[0] != -1:
        raise ConfigError(f"tensor '{name}': for batching its first dimension must vary, but the graph has {dims}")
    full = [-1, *wanted] if max_batch else wanted
    fits = len(dims) == len(full) and all(
        have == want or (have == -1 and not exact) for have, want in zip(dims, full, strict=True)
    )
    if not fits:
        batch = " (the batch dimension first)" if max_batch else ""
        raise ConfigError(f"tensor '{name}': the model expects shape {dims}, the configuration says {full}{batch}")
    return Port(name, bool(io.get("optional")), graph_dtype == "TYPE_STRING", None)


class Heap:
    """What glibc keeps of freed memory: while calls follow each other all of it, of an idle process nothing.

    Mapping every large tensor anew would take a fifth of the time of a 60 s song; what the longest song leaves between
    the heap's blocks would stay for good.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            self._libc.mallopt(option, LARGEST_KEPT)
        self._used = threading.Event()
        self._last = time.monotonic()
        threading.Thread(target=self._watch, name="heap", daemon=True).start()

    def touch(self) -> None:
        """A call has ended: what it freed is given back unless another one follows soon."""
        self._last = time.monotonic()
        self._used.set()

    def _watch(self) -> None:
        while self._used.wait():
            while (rest := self._last + IDLE_SECONDS - time.monotonic()) > 0:
                time.sleep(rest)
            self._used.clear()
            self._libc.malloc_trim(0)


class TritonPythonModel:
    """One instance: one ONNX Runtime session."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads and checks the model; a configuration it cannot serve fails the load with one line."""
        config = json.loads(args["model_config"])
        self._heap = Heap()
        try:
            self._open(config, args)
        except ConfigError as error:
            raise pb_utils.TritonModelException(f"unable to load model '{args['model_name']}': {error}") from None

    def _open(self, config: dict[str, Any], args: dict[str, str]) -> None:
        if problem := corruption(pb_utils):
            raise ConfigError(problem)
        for field in NOT_HERE:
            if config.get(field):
                raise ConfigError(f"{field} is not available in the embedded server")
        parameters = _parameters(config)
        filename = config.get("default_model_filename") or "model.onnx"
        path = os.path.join(pb_utils.get_model_dir(), filename)
        if os.path.isdir(path):
            path = os.path.join(path, "model.onnx")
        if not os.path.isfile(path):
            raise ConfigError(f"there is no file {filename} in version {args['model_version']}")
        options, providers = session_options(config, parameters), _providers(config, parameters, args)
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            raise ConfigError(_public(error)) from None
        self._run_options = onnxruntime.RunOptions()
        if RUN_ENTRY in parameters:
            self._run_options.add_run_config_entry(RUN_ENTRY, parameters[RUN_ENTRY])
        self._max_batch = int(config.get("max_batch_size", 0))
        self._check(config)

    def _check(self, config: Mapping[str, Any]) -> None:
        inputs = {node.name: node for node in self._session.get_inputs()}
        required = [io for io in config["input"] if not io.get("optional")]
        if len(required) != len(inputs):
            raise ConfigError(f"configuration expects {len(required)} inputs, model provides {len(inputs)}")
        inputs |= {node.name: node for node in self._session.get_overridable_initializers()}
        outputs = {node.name: node for node in self._session.get_outputs()}
        self._inputs = [_port(io, inputs, self._max_batch, exact=False) for io in config["input"]]
        self._outputs = [_port(io, outputs, self._max_batch, exact=True) for io in config["output"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order; requests of the same shapes run as one batch."""
        responses: list[Any] = [None] * len(requests)
        groups: dict[Any, list[tuple[int, dict[str, Array]]]] = {}
        for index, request in enumerate(requests):
            try:
                feeds = self._feeds(request)
            except Exception as error:
                responses[index] = _failure(error)
                continue
            alone = index if self._max_batch == 0 else -1
            key = (alone, tuple((name, array.shape[1:]) for name, array in feeds.items()))
            groups.setdefault(key, []).append((index, feeds))
        for members in groups.values():
            self._run_group(requests, members, responses)
        self._heap.touch()
        return responses

    def _feeds(self, request: Any) -> dict[str, Array]:
        feeds = {}
        for port in self._inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, port.name)
            if tensor is None:
                if port.optional:
                    continue
                raise ValueError(f"input '{port.name}' is missing")
            array = tensor.as_numpy()
            if port.is_text:
                array = np.array([text.decode() for text in array.reshape(-1)], dtype=object).reshape(array.shape)
            feeds[port.name] = array.reshape(()) if port.scalar_dims is not None else array
        return feeds

    def _run_group(
        self, requests: Sequence[Any], members: list[tuple[int, dict[str, Array]]], responses: list[Any]
    ) -> None:
        first = members[0][1]
        feeds = first if len(members) == 1 else {n: np.concatenate([feed[n] for _, feed in members]) for n in first}
        names = [port.name for port in self._outputs]
        try:
            results = dict(zip(names, self._session.run(names, feeds, self._run_options), strict=True))
            row = 0
            for index, feed in members:
                rows = len(next(iter(feed.values()))) if self._max_batch else 0
                part = {n: a[row : row + rows] for n, a in results.items()} if len(members) > 1 else results
                responses[index] = self._response(requests[index], part)
                row += rows
        except Exception as error:
            if len(members) > 1:  # one that fails must not take its neighbours with it
                for member in members:
                    self._run_group(requests, [member], responses)
            else:
                responses[members[0][0]] = _failure(error)

    def _response(self, request: Any, results: Mapping[str, Array]) -> Any:
        wanted = set(request.requested_output_names())
        tensors = []
        for port in self._outputs:
            if port.name in wanted:
                array = np.ascontiguousarray(results[port.name])
                if port.is_text:
                    array = np.array([text.encode() for text in array.reshape(-1)], dtype=object).reshape(array.shape)
                if port.scalar_dims is not None:
                    array = array.reshape(port.scalar_dims)
                tensors.append(pb_utils.Tensor(port.name, array))
        return pb_utils.InferenceResponse(tensors)


def _failure(error: Exception) -> Any:
    code = pb_utils.TritonError.INVALID_ARG if isinstance(error, ValueError) else pb_utils.TritonError.INTERNAL
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(_public(error), code))


def _public(error: Exception) -> str:
    """The error's text in one line, without paths of this machine: it goes to clients."""
    text = re.sub(r"(?<![\w/])/(?:[^\s/:'\"]+/)+", "", " ".join(str(error).split()))
    return text[:500] or type(error).__name__
