"""A model repository of toys: ONNX graphs of a few nodes and a pipeline that answers pings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

CPU = "instance_group [ { kind: KIND_CPU count: 1 } ]\n"

# Answers {"kind": "ping"}; {"kind": "hang"} blocks the whole model, as a bug would.
PIPELINE = '''
import json, time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    async def execute(self, requests):
        for request in requests:
            text = pb_utils.get_input_tensor_by_name(request, "request").as_numpy().reshape(-1)[0]
            if json.loads(text)["kind"] == "hang":
                time.sleep(3600)
            event = pb_utils.Tensor("event", np.array([b'{"type": "done"}'], dtype=object))
            request.get_response_sender().send(
                pb_utils.InferenceResponse([event]), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
            )
'''
PIPELINE_CONFIG = """name: "acestep" backend: "python" max_batch_size: 0
model_transaction_policy { decoupled: true }
input [ { name: "request" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "event" data_type: TYPE_STRING dims: [ 1 ] } ]
"""

TYPES = {
    "FP32": TensorProto.FLOAT, "FP16": TensorProto.FLOAT16, "FP64": TensorProto.DOUBLE, "INT64": TensorProto.INT64,
    "INT32": TensorProto.INT32, "UINT8": TensorProto.UINT8, "BOOL": TensorProto.BOOL, "STRING": TensorProto.STRING,
}


def make(folder: Path) -> Path:
    """The repository below `folder`."""
    repository = folder / "repository"
    _pipeline(repository)
    _rows(repository)
    _types(repository)
    _reshaped(repository)
    _picky(repository)
    _padded(repository)
    return repository


def _write(repository: Path, name: str, graph: object, config: str, filename: str = "model.onnx") -> None:
    (repository / name / "1").mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    save(model, repository / name / "1" / filename)
    (repository / name / "config.pbtxt").write_text(f'name: "{name}" backend: "onnxruntime"\n{config}{CPU}')


def _pipeline(repository: Path) -> None:
    (repository / "acestep" / "1").mkdir(parents=True)
    (repository / "acestep" / "1" / "model.py").write_text(PIPELINE)
    (repository / "acestep" / "config.pbtxt").write_text(PIPELINE_CONFIG + CPU)


def _rows(repository: Path) -> None:
    """A convolution and a projection over [B,T,16], batched by Triton; held back 30 ms so that requests meet."""
    random = np.random.default_rng(0)
    kernel = numpy_helper.from_array(random.standard_normal((32, 16, 3)).astype(np.float32), "kernel")
    weight = numpy_helper.from_array(random.standard_normal((32, 4)).astype(np.float32), "weight")
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["X"], ["channels"], perm=[0, 2, 1]),
            helper.make_node("Conv", ["channels", "kernel"], ["wide"], pads=[1, 1]),
            helper.make_node("Tanh", ["wide"], ["bent"]),
            helper.make_node("Transpose", ["bent"], ["back"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["back", "weight"], ["Y"]),
        ],
        "rows",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["B", "T", 16])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["B", "T", 4])],
        [kernel, weight],
    )
    _write(repository, "rows", graph, """max_batch_size: 8
input [ { name: "X" data_type: TYPE_FP32 dims: [ -1, 16 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]
dynamic_batching { max_queue_delay_microseconds: 30000 }
optimization { graph { level: 1 } }
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
parameters { key: "enable_mem_arena" value: { string_value: "0" } }
parameters { key: "execution_mode" value: { string_value: "0" } }
""")


def _types(repository: Path) -> None:
    """One identity per data type, unbatched, in a file with a name of its own."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_in"], [f"{name}_out"]) for name in TYPES],
        "types",
        [helper.make_tensor_value_info(f"{name}_in", kind, ["N"]) for name, kind in TYPES.items()],
        [helper.make_tensor_value_info(f"{name}_out", kind, ["N"]) for name, kind in TYPES.items()],
    )
    inputs = ", ".join(f'{{ name: "{name}_in" data_type: TYPE_{name} dims: [ -1 ] }}' for name in TYPES)
    outputs = ", ".join(f'{{ name: "{name}_out" data_type: TYPE_{name} dims: [ -1 ] }}' for name in TYPES)
    config = f'default_model_filename: "graph.onnx"\nmax_batch_size: 0\ninput [ {inputs} ]\noutput [ {outputs} ]\n'
    _write(repository, "types", graph, config, "graph.onnx")


def _reshaped(repository: Path) -> None:
    """[B] in and out, told to clients as [B,1]."""
    graph = helper.make_graph(
        [helper.make_node("Neg", ["X"], ["Y"])],
        "reshaped",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["B"])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["B"])],
    )
    _write(repository, "reshaped", graph, """max_batch_size: 4
input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } } ]
""")


def _picky(repository: Path) -> None:
    """Looks a row up in a table of three: another index is an error while it runs."""
    table = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["row"])],
        "picky",
        [helper.make_tensor_value_info("index", TensorProto.INT64, ["B"])],
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, ["B", 2])],
        [table],
    )
    _write(repository, "picky", graph, """max_batch_size: 8
input [ { name: "index" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } } ]
output [ { name: "row" data_type: TYPE_FP32 dims: [ 2 ] } ]
dynamic_batching { max_queue_delay_microseconds: 30000 }
""")


def _padded(repository: Path) -> None:
    """Unbatched, with an input that may be left out (an initialiser stands in) and a scalar output."""
    step = numpy_helper.from_array(np.array([10.0], dtype=np.float32), "step")
    graph = helper.make_graph(
        [helper.make_node("Add", ["X", "step"], ["Y"]), helper.make_node("ReduceSum", ["Y"], ["sum"], keepdims=0)],
        "padded",
        [
            helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("step", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
        [step],
    )
    _write(repository, "padded", graph, """max_batch_size: 0
input [
  { name: "X" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "step" data_type: TYPE_FP32 dims: [ 1 ] optional: true }
]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] }, { name: "sum" data_type: TYPE_FP32 dims: [ 1 ] } ]
""")
