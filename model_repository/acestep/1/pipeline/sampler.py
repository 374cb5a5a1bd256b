"""One step of the flow-matching sampler (model facts D4): x_t = t·noise + (1−t)·data, v = noise − data."""

import numpy as np

from .models import Floats


def step_ode(x: Floats, velocity: Floats, t: float, t_next: float) -> Floats:
    """Euler step of the probability-flow ODE: x − v·(t − t_next); with t_next = 0 it lands on the data."""
    return x - velocity * np.float32(t - t_next)
