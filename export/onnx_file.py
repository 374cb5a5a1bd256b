"""One graph to one model.onnx: exported, checked, compared with PyTorch in ONNX Runtime, described by a manifest."""

import json
import time
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from .artifacts import versions
from .digests import sha256
from .errors import ExportError
from .graph import Array, Deviation, Graph, Tensors, deviations

OPSET = 20
# protobuf refuses files of 2 GB; larger models keep their weights in a file beside them
LARGEST_SINGLE_FILE = 1_500_000_000


def write(graph: Graph, folder: Path, name: str, sources: Mapping[str, str]) -> None:
    """Writes model.onnx and manifest.json; ExportError when the graph's deviation from PyTorch is more than rounding.

    Both are compared with PyTorch in float64, and the graph in float32 may be FACTOR times as far from it as PyTorch in
    float32 is: rounding grows with depth, so no fixed bound tells it from a small error. Padding is not compared.
    sources: checkpoint file -> SHA-256 of its content.
    """
    started = time.monotonic()
    path = folder / "model.onnx"
    with torch.no_grad():
        _export(graph, path)
        onnx.checker.check_model(str(path), full_check=True)
        exported = time.monotonic()
        found = compare(graph, path)
    refuse_wrong(name, found)
    manifest = {
        "name": name,
        "opset": OPSET,
        "precision": "fp32",
        "sha256": sha256(*sorted(folder.glob("model.onnx*"))),
        "sources": dict(sources),
        "versions": versions(),
        "max_relative_error": {label: one.graph for label, one in found.items()},
        "pytorch_relative_error": {label: one.pytorch for label, one in found.items()},
        "seconds": {"export": round(exported - started, 1), "compare": round(time.monotonic() - exported, 1)},
        **_description(path),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def compare(graph: Graph, path: Path) -> dict[str, Deviation]:
    """The deviation of each of the graph's cases, as ONNX Runtime computes it on the CPU."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(inputs: Tensors) -> Mapping[str, Array]:
        feed = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in inputs.items()}
        return dict(zip(graph.outputs, session.run(list(graph.outputs), feed), strict=True))

    return deviations(graph, run)


def refuse_wrong(name: str, found: Mapping[str, Deviation]) -> None:
    """Raises ExportError, one line with the worst case, when one is more than rounding."""
    label, worst = max(found.items(), key=lambda item: item[1].graph / item[1].bound)
    if not all(one.is_rounding for one in found.values()):
        raise ExportError(
            f"{name}: the graph deviates from PyTorch by {worst.graph:.2e} on {label} (at most {worst.bound:.2e} is"
            f" rounding: PyTorch in float32 deviates from itself in float64 by {worst.pytorch:.2e})"
        )


def _export(graph: Graph, path: Path) -> None:
    program = torch.onnx.export(
        graph.module,
        args=(),
        kwargs=dict(graph.example),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(graph.example),
        output_names=list(graph.outputs),
        dynamic_shapes={name: dict(axes) for name, axes in graph.axes.items()},
        verbose=False,
    )
    assert program is not None
    _forget_origin(program.model)
    tensors = chain(graph.module.parameters(), graph.module.buffers())  # each once, though modules share them
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    program.save(str(path), external_data=size > LARGEST_SINGLE_FILE)


def _forget_origin(model: Any) -> None:
    """Drops the stack traces that torch writes into every node: paths of this machine, and half of the file."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None


def _description(path: Path) -> dict[str, Any]:
    model = onnx.load(str(path), load_external_data=False)
    nodes = model.graph.node
    return {
        "ir_version": model.ir_version,
        "nodes": len(nodes),
        "operators": sorted({node.op_type for node in nodes}),
        "inputs": {value.name: _shape(value) for value in model.graph.input},
        "outputs": {value.name: _shape(value) for value in model.graph.output},
    }


def _shape(value: Any) -> list[str | int]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
