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
from .graph import Graph, relative_error

OPSET = 20
TOLERANCE = 1e-5
# protobuf refuses files of 2 GB; larger models keep their weights in a file beside them
LARGEST_SINGLE_FILE = 1_500_000_000


def write(graph: Graph, folder: Path, name: str, sources: Mapping[str, str]) -> None:
    """Writes model.onnx and manifest.json; ExportError when the graph deviates from PyTorch by more than 1e-5.

    sources: checkpoint file -> SHA-256 of its content.
    """
    started = time.monotonic()
    path = folder / "model.onnx"
    with torch.no_grad():
        _export(graph, path)
        onnx.checker.check_model(str(path), full_check=True)
        exported = time.monotonic()
        errors = compare(graph, path)
    worst = max(errors.values())
    if not worst <= TOLERANCE:
        raise ExportError(f"{name}: the graph deviates from PyTorch by {worst:.2e} (at most {TOLERANCE:.0e} allowed)")
    manifest = {
        "name": name,
        "opset": OPSET,
        "precision": "fp32",
        "sha256": sha256(*sorted(folder.glob("model.onnx*"))),
        "sources": dict(sources),
        "versions": versions(),
        "max_relative_error": errors,
        "seconds": {"export": round(exported - started, 1), "compare": round(time.monotonic() - exported, 1)},
        **_description(path),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def compare(graph: Graph, path: Path) -> dict[str, float]:
    """Largest relative error of each of the graph's cases, as ONNX Runtime computes it on the CPU."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    errors = {}
    for case in graph.cases():
        feed = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in case.inputs.items()}
        found = session.run(list(graph.outputs), feed)
        errors[case.label] = relative_error(case, dict(zip(graph.outputs, found, strict=True)))
    return errors


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
