"""What one exported graph is: a module, its tensors' names and axes, and the cases that prove it."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Array = NDArray[Any]
Tensors = Mapping[str, torch.Tensor]

# Axis names: torch.export would read a capital such as "N" or "S" as a sympy function.
BATCH = torch.export.Dim("batch", min=1, max=64)


@dataclass(frozen=True)
class Case:
    """Inputs, and what PyTorch's own modules make of them.

    valid: output name -> boolean array that broadcasts to the output; elsewhere (padding) nothing is compared.
    """

    label: str
    inputs: dict[str, torch.Tensor]
    expected: dict[str, torch.Tensor]
    valid: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A module to export. Its forward takes the example's tensors in order and returns `outputs` in order.

    oracle: what holds all weights that the cases' expected values are computed with, float32 at rest. cases: computes
    them in that type, which the oracle's weights have while it does; the cases' inputs are float32 always.
    """

    module: nn.Module
    example: dict[str, torch.Tensor]
    outputs: tuple[str, ...]
    axes: Mapping[str, Mapping[int, Any]]
    oracle: nn.Module
    cases: Callable[[torch.dtype], Iterator[Case]]


# Orders of summation differ, so a right graph is about as far from the exact result as PyTorch itself, at any depth.
# Measured on right graphs of 4 and 24 layers: 0.6 to 1.8 times as far; one layer in 24 with scores off by 0.01 %: 6.
FACTOR = 4.0
# Where PyTorch is exact (a table of rows), or nearly so; a float32 has 1.2e-7.
FLOOR = 1e-6


@dataclass(frozen=True)
class Deviation:
    """How far float32 results of one case are from the float64 result, in units of its largest value."""

    graph: float
    pytorch: float

    @property
    def bound(self) -> float:
        """What is still rounding."""
        return max(FLOOR, FACTOR * self.pytorch)

    @property
    def is_rounding(self) -> bool:
        """False for a graph that computes something else, and for one whose result is no number."""
        return self.graph <= self.bound


def deviations(graph: Graph, run: Callable[[Tensors], Mapping[str, Array]]) -> dict[str, Deviation]:
    """Each case's deviation, by its label; `run` computes the graph's outputs by their names."""
    with in_float64(graph.oracle):
        exact = list(graph.cases(torch.float64))
    found = {}
    for truth, rounded in zip(exact, graph.cases(torch.float32), strict=True):
        pytorch = {name: tensor.numpy() for name, tensor in rounded.expected.items()}
        found[truth.label] = Deviation(
            relative_error(truth, run(rounded.inputs)), relative_error(truth, pytorch))
    return found


@contextmanager
def in_float64(module: nn.Module) -> Iterator[None]:
    """The module in float64 while the block runs; float32 weights come back as they were, bit by bit."""
    module.double()
    try:
        yield
    finally:
        module.float()


def relative_error(case: Case, outputs: Mapping[str, Array]) -> float:
    """Largest deviation from the expected output, in units of that output's largest value; infinite for a NaN."""
    errors = []
    for name, tensor in case.expected.items():
        expected, found = tensor.numpy(), np.asarray(outputs[name])
        if expected.shape != found.shape:
            raise ValueError(f"{name} has shape {found.shape}, expected {expected.shape}")
        valid = case.valid.get(name)
        where = np.ones(expected.shape, bool) if valid is None else np.broadcast_to(valid.numpy(), expected.shape)
        if expected.dtype.kind != "f":
            errors.append(float(np.any((expected != found) & where)))
            continue
        scale = float(np.abs(expected[where]).max())
        error = float(np.abs(expected - found)[where].max()) / max(scale, 1e-30)
        errors.append(error if math.isfinite(error) else math.inf)  # max() of a NaN and 0 is 0
    return max(errors)
