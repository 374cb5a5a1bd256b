"""The stand-in for the official ONNX Runtime backend, through a real Triton server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.conftest import RunningStack, start


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory, toy_repository: Path) -> Any:
    running = start(tmp_path_factory.mktemp("toys-state"), toy_repository, False)
    yield running
    assert running.stop() == 0


@pytest.fixture
async def triton(toys: RunningStack) -> AsyncIterator[grpc.InferenceServerClient]:
    async with grpc.InferenceServerClient(toys.triton_grpc) as client:
        yield client


async def infer(
    client: grpc.InferenceServerClient, model: str, arrays: dict[str, np.ndarray], outputs: list[str] | None = None
) -> dict[str, np.ndarray]:
    inputs = []
    for name, array in arrays.items():
        inputs.append(grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    wanted = None if outputs is None else [grpc.InferRequestedOutput(name) for name in outputs]
    result = await client.infer(model, inputs, outputs=wanted)
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


async def batches_of(client: grpc.InferenceServerClient, model: str, rows: int) -> int:
    """Batches executed when `rows` rows in all have been counted: Triton counts after it has answered."""
    for _ in range(250):
        stats = (await client.get_inference_statistics(model)).model_stats[0]
        if stats.inference_count == rows:
            return int(stats.execution_count)
        await asyncio.sleep(0.02)
    raise AssertionError(f"{stats.inference_count} rows counted, not {rows}")


async def test_rows_batch_and_come_out_as_if_alone(triton: grpc.InferenceServerClient) -> None:
    random = np.random.default_rng(1)
    requests = [random.standard_normal((rows, 24, 16)).astype(np.float32) for rows in (1, 2, 1, 1)]
    requests += [random.standard_normal((1, 40, 16)).astype(np.float32)]  # another length: a batch of its own
    alone = [(await infer(triton, "rows", {"X": x}))["Y"] for x in requests]
    before = await batches_of(triton, "rows", 6)
    together = await asyncio.gather(*(infer(triton, "rows", {"X": x}) for x in requests))
    after = await batches_of(triton, "rows", 12)
    assert after - before < before, "Triton made no batch"
    for lone, batched, x in zip(alone, together, requests, strict=True):
        assert batched["Y"].shape == (len(x), x.shape[1], 4)
        np.testing.assert_array_equal(lone, batched["Y"])


async def test_every_data_type_goes_through(triton: grpc.InferenceServerClient) -> None:
    arrays: dict[str, np.ndarray] = {
        "FP32_in": np.array([1.5, -0.0, np.inf], np.float32), "FP16_in": np.array([1.5, 65504, -2], np.float16),
        "FP64_in": np.array([1e300, 0, -1], np.float64), "INT64_in": np.array([2**60, -1, 0], np.int64),
        "INT32_in": np.array([2**31 - 1, -5, 0], np.int32), "UINT8_in": np.array([255, 0, 7], np.uint8),
        "BOOL_in": np.array([True, False, True]), "STRING_in": np.array(["雨".encode(), b"", b"a b"], dtype=object),
    }
    answers = await infer(triton, "types", arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(answers[name.replace("_in", "_out")], array)


async def test_only_requested_outputs_are_sent(triton: grpc.InferenceServerClient) -> None:
    x = np.array([1.0, 2.0], np.float32)
    assert list(await infer(triton, "padded", {"X": x}, ["sum"])) == ["sum"]


async def test_reshape_scalar_and_optional_input(triton: grpc.InferenceServerClient) -> None:
    column = np.array([[1.0], [2.0], [3.0]], np.float32)
    np.testing.assert_array_equal((await infer(triton, "reshaped", {"X": column}))["Y"], -column)
    x = np.array([1.0, 2.0], np.float32)
    without = await infer(triton, "padded", {"X": x})
    np.testing.assert_array_equal(without["Y"], x + 10)
    assert without["sum"].shape == (1,)
    np.testing.assert_array_equal(without["sum"], [23])
    given = await infer(triton, "padded", {"X": x, "step": np.array([1.0], np.float32)})
    np.testing.assert_array_equal(given["Y"], x + 1)


async def test_a_failing_request_leaves_its_neighbours_alone(triton: grpc.InferenceServerClient) -> None:
    indices = (2, 99, 0)
    answers = await asyncio.gather(
        *(infer(triton, "picky", {"index": np.array([[i]], np.int64)}) for i in indices), return_exceptions=True
    )
    good_first, bad, good_last = answers
    assert isinstance(good_first, dict)
    assert isinstance(good_last, dict)
    np.testing.assert_array_equal(good_first["row"], [[4, 5]])
    np.testing.assert_array_equal(good_last["row"], [[0, 1]])
    assert isinstance(bad, InferenceServerException)
    assert "idx=99" in str(bad)
    assert "\n" not in str(bad)
    assert not re.search(r"/\w+/", str(bad)), "a path of the server's machine in a client's error"


async def test_wrong_type_and_shape_are_refused(triton: grpc.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="data-type"):
        await infer(triton, "rows", {"X": np.zeros((1, 4, 16), np.float64)})
    with pytest.raises(InferenceServerException, match="shape"):
        await infer(triton, "rows", {"X": np.zeros((1, 4, 15), np.float32)})


def parameter(key: str, value: str) -> dict[str, Any]:
    return {"parameters": {key: {"string_value": value}}}


def rows_input(**changes: Any) -> dict[str, Any]:
    return {"input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [-1, 16], **changes}]}


def rows_output(**changes: Any) -> dict[str, Any]:
    return {"output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": [-1, 4], **changes}]}


REFUSED = {
    "unknown key": (parameter("threads", "2"), "unknown parameter 'threads'"),
    "thread count": (parameter("intra_op_thread_count", "two"), "'intra_op_thread_count' must be a whole number"),
    "switch": (parameter("enable_mem_arena", "maybe"), "'enable_mem_arena' must be 0, 1, true or false"),
    "graph level": ({"optimization": {"graph": {"level": 3}}}, "optimization.graph.level must be -1, 0, 1 or 2"),
    "input name": (rows_input(name="Z"), "unexpected input 'Z'; the graph has X"),
    "input type": (rows_input(data_type="TYPE_FP16"), "expects datatype TYPE_FP16 for input 'X', model has TYPE_FP32"),
    "input shape": (rows_input(dims=[-1, 17]), "'X': the model expects shape [-1, -1, 16]"),
    "output shape": (rows_output(dims=[8, 4]), "'Y': the model expects shape [-1, -1, 4]"),
    "accelerator": (
        {"optimization": {"execution_accelerators": {"cpu_execution_accelerator": [{"name": "openvino"}]}}},
        "cpu_execution_accelerator is not available",
    ),
    "missing file": ({"default_model_filename": "other.onnx"}, "there is no file other.onnx"),
}


async def test_configurations_are_refused_with_one_line(triton: grpc.InferenceServerClient) -> None:
    """Each is the working `rows` with one change; the working version stays in service throughout."""
    good = (await triton.get_model_config("rows", as_json=True))["config"]

    async def refusal(changes: dict[str, Any]) -> str:
        with pytest.raises(InferenceServerException) as caught:
            await triton.load_model("rows", config=json.dumps({**good, **changes}))
        return str(caught.value)

    for case, (changes, text) in REFUSED.items():
        said = await refusal(changes)
        assert text in said, f"{case}: {said}"
    assert await triton.is_model_ready("rows")


async def test_official_keys_are_taken(triton: grpc.InferenceServerClient) -> None:
    good = (await triton.get_model_config("reshaped", as_json=True))["config"]
    keys = {
        "execution_mode": "1", "intra_op_thread_count": "1", "inter_op_thread_count": "2", "enable_mem_arena": "1",
        "enable_mem_pattern": "false", "session.use_device_allocator_for_initializers": "1",
        "memory.enable_memory_arena_shrinkage": "cpu:0", "gpu_mem_limit": "1000000",
    }
    changes = {"parameters": {key: {"string_value": value} for key, value in keys.items()}}
    await triton.load_model("reshaped", config=json.dumps({**good, **changes, "optimization": {"graph": {"level": 2}}}))
    column = np.array([[4.0]], np.float32)
    np.testing.assert_array_equal((await infer(triton, "reshaped", {"X": column}))["Y"], -column)
