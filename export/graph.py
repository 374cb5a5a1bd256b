"""What one exported graph is: a module, its tensors' names and axes, and the cases that prove it."""

from collections.abc import Callable, Iterator, Mapping
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
    """A module to export. Its forward takes the example's tensors in order and returns `outputs` in order."""

    module: nn.Module
    example: dict[str, torch.Tensor]
    outputs: tuple[str, ...]
    axes: Mapping[str, Mapping[int, Any]]
    cases: Callable[[], Iterator[Case]]


def relative_error(case: Case, outputs: Mapping[str, Array]) -> float:
    """Largest deviation from the expected output, in units of that output's largest value."""
    worst = 0.0
    for name, tensor in case.expected.items():
        expected, found = tensor.numpy(), np.asarray(outputs[name])
        if expected.shape != found.shape:
            raise ValueError(f"{name} has shape {found.shape}, expected {expected.shape}")
        valid = case.valid.get(name)
        where = np.ones(expected.shape, bool) if valid is None else np.broadcast_to(valid.numpy(), expected.shape)
        if expected.dtype.kind != "f":
            worst = max(worst, float(np.any((expected != found) & where)))
            continue
        scale = float(np.abs(expected[where]).max())
        worst = max(worst, float(np.abs(expected - found)[where].max()) / max(scale, 1e-30))
    return worst
