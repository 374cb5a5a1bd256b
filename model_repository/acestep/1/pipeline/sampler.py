"""The formulas of a flow-matching step (docs/model.md, Steps): x_t = t·noise + (1−t)·data, v = noise − data.

All arrays are one track's own visible frames, float32 [T, 64].
"""

import numpy as np

from .models import Floats

_TINY = 1e-10


def mix(noise: Floats, data: Floats, t: float) -> Floats:
    """x_t of that noise and that data."""
    return np.float32(t) * noise + np.float32(1 - t) * data


def bound_velocity(x: Floats, velocity: Floats, threshold: float) -> Floats:
    """The velocity, its norm over all frames at most `threshold` times that of x; 0 is no bound."""
    if threshold == 0:
        return velocity
    limit = threshold * (float(np.linalg.norm(x)) + _TINY) / (float(np.linalg.norm(velocity)) + _TINY)
    return velocity * np.float32(min(1.0, limit))


def smooth_velocity(velocity: Floats, previous: Floats | None, factor: float) -> Floats:
    """The velocity with that share of the one before it; the first has none before it."""
    if factor == 0 or previous is None:
        return velocity
    return np.float32(1 - factor) * velocity + np.float32(factor) * previous


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
    return mix(noise, data, t_next)
