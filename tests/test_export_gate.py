"""The export refuses a graph that computes something else, and no other, however deep the model is.

PyTorch's own run of the graph's module, in float32, stands in for ONNX Runtime; the slow test has the real one.
"""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AceStepTransformer1DModel

from export import dit_graph, module_configs, onnx_file, tiny_checkpoint
from export.errors import ExportError
from export.graph import Case, Deviation, Graph, deviations, in_float64, relative_error
from export.layout import DitConfig
from tests.exported import one_thread as one_thread

LAYERS = 24
MIDDLE = 12


def deep() -> Any:
    """A random DiT of real depth."""
    kinds = ["sliding_attention", "full_attention"] * (LAYERS // 2)
    shape = tiny_checkpoint._DIT | {"num_hidden_layers": LAYERS, "layer_types": kinds, "is_turbo": True}
    config = DitConfig(Path("deep"), shape)
    torch.manual_seed(0)
    dit = AceStepTransformer1DModel(**module_configs.transformer(config)).eval().requires_grad_(False)
    return SimpleNamespace(config=config, transformer=dit)


def graph(parts: Any) -> Graph:
    """Its graph, with the case of 51 frames alone: real depth, not real length."""
    whole = dit_graph.graph(parts)
    return replace(whole, cases=lambda dtype: islice(whole.cases(dtype), 1, 2))


def run(of: Graph) -> Any:
    return lambda inputs: {"velocity": of.module(**inputs).numpy()}


@pytest.fixture(autouse=True, scope="module")
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def right() -> Graph:
    return graph(deep())


@pytest.mark.parametrize(("change", "at_least"), [
    (lambda dit: None, 0.0),
    (lambda dit: setattr(dit.layers[MIDDLE].self_attn, "scaling", dit.layers[MIDDLE].self_attn.scaling * 1.0001), 3e-6),
    (lambda dit: dit.layer_types.__setitem__(MIDDLE, "full_attention"), 1e-3),
], ids=["right", "one layer's scores 0.01 % too large", "one layer's mask"])  # fmt: skip
def test_a_deep_graph_is_refused_where_it_is_wrong_and_not_where_it_rounds(right, change, at_least):
    parts = deep()
    change(parts.transformer)
    found = deviations(right, run(graph(parts)))
    [deviation] = found.values()
    if at_least:
        assert deviation.graph > at_least
        with pytest.raises(ExportError, match=r"^deep: the graph deviates .* on 51 frames \(at most .* is rounding"):
            onnx_file.refuse_wrong("deep", found)
    else:
        assert deviation.is_rounding
        onnx_file.refuse_wrong("deep", found)


@pytest.mark.parametrize(("graph", "pytorch", "is_rounding"), [
    (3e-5, 2e-5, True),  # the errors of a model whose values cancel
    (4e-6, 6e-7, False),  # 1e-5 would let it pass
    (5e-7, 0.0, True), (2e-6, 0.0, False), (np.inf, 1e-6, False), (np.nan, 1e-6, False),
])  # fmt: skip
def test_the_bound_follows_pytorchs_own_error(graph, pytorch, is_rounding):
    assert Deviation(graph, pytorch).is_rounding is is_rounding


def test_a_graph_that_answers_no_number_is_wrong():
    case = Case("one", {}, {"y": torch.ones(2, dtype=torch.float64)})
    assert relative_error(case, {"y": np.array([1.0, np.nan], np.float32)}) == np.inf


def test_float64_leaves_the_weights_as_they_were():
    layer = torch.nn.Linear(50, 50)
    before = layer.weight.clone()
    with in_float64(layer):
        assert layer.weight.dtype == torch.float64
    assert torch.equal(layer.weight, before)


@pytest.mark.slow
def test_a_deep_graph_is_exported(tmp_path):
    """ONNX Runtime's own rounding, on every case."""
    onnx_file.write(dit_graph.graph(deep()), tmp_path, "deep", {})
    assert (tmp_path / "manifest.json").is_file()
