"""One step of the flow-matching sampler (model facts D4): x_t = t·noise + (1−t)·data, v = noise − data."""

import numpy as np

from .models import Floats


def step_ode(x: Floats, velocity: Floats, t: float, t_next: float) -> Floats:
    """Euler step of the probability-flow ODE: x − v·(t − t_next); with t_next = 0 it lands on the data."""
    return x - velocity * np.float32(t - t_next)


def step_sde(x: Floats, velocity: Floats, t: float, t_next: float, noise: Floats) -> Floats:
    """Stochastic step: the predicted data x − v·t, noised again to t_next; with t_next = 0 it is the data itself.

    Upstream's base models take the unshifted t_next here; this is the schedule's own, on every model.
    """
    data = x - velocity * np.float32(t)
    if t_next == 0:
        return data
    return np.float32(t_next) * noise + np.float32(1 - t_next) * data
