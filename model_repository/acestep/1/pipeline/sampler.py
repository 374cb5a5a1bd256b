"""One step of the flow-matching sampler (model facts D4): x_t = t·noise + (1−t)·data, v = noise − data."""

from typing import TypeVar

# numpy or torch alike: the formulas use arithmetic operators alone.
Array = TypeVar("Array")


def step_ode(x: Array, velocity: Array, t: float, t_next: float) -> Array:
    """Euler step of the probability-flow ODE: x − v·(t − t_next); with t_next = 0 it lands on the data."""
    return x - velocity * (t - t_next)  # type: ignore[operator, no-any-return]
