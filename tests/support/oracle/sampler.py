"""One step of the sampler, with every option of the June 2026 models.

x_t = t·noise + (1 − t)·data and v = noise − data. Arrays are a song's visible frames [T, 64]; sums are in double.
Sources, beside upstream's generate_audio: APG, Sadat et al., arXiv 2410.02416; DCW, Yu et al., arXiv 2604.16044;
Haar, 1910; docs/model.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .masks import Floats

Doubles = npt.NDArray[np.float64]
# The conditional velocity at (x, t), and the one with the null condition.
Evaluate = Callable[[Doubles, float], tuple[Doubles, Doubles | None]]


@dataclass(frozen=True)
class Options:
    """How a song is sampled; the defaults change nothing."""

    is_turbo: bool
    method: str = "ode"
    is_heun: bool = False
    guidance: float = 1.0
    by_angle: bool = False
    interval: tuple[float, float] = (0.0, 1.0)
    norm_threshold: float = 0.0
    ema: float = 0.0
    dcw: str = ""
    dcw_scaler: float = 0.0
    dcw_high_scaler: float = 0.0

    def guides(self, t: float) -> bool:
        """Whether guidance is on at t; the interval is of t itself."""
        return not self.is_turbo and self.guidance > 1 and self.interval[0] <= t <= self.interval[1]


@dataclass
class Memory:
    """What one step leaves for the next: APG's running difference, and the velocity that the average goes on from."""

    difference: Doubles | None = None
    velocity: Doubles | None = None


def step(
    x: Doubles, t: float, t_next: float, evaluate: Evaluate, options: Options, memory: Memory, noise: Floats
) -> Doubles:
    """x at t_next. `noise` [T, 64] is the fresh noise of a stochastic step.

    The stochastic step takes the schedule's own t_next on every model (docs/behaviour.md; upstream's base models take
    the unshifted one). A turbo's last step is x − v·t whatever the method; a base model's last one is like its others.
    """
    v = smooth(bound(guided(x, t, evaluate, options, memory), x, options), memory.velocity, options)
    seen = v
    if options.is_turbo and t_next == 0:
        x_next = x - v * t
    elif options.method == "sde":
        x_next = t_next * noise.astype(np.float64) + (1 - t_next) * (x - v * t)
    elif options.is_heun:
        predicted = x - v * (t - t_next)
        second = smooth(bound(corrected(predicted, t_next, evaluate, options), predicted, options), v, options)
        seen = 0.5 * (v + second)
        x_next = x - seen * (t - t_next)
    else:
        x_next = x - v * (t - t_next)
    memory.velocity = seen
    return differential(x_next, x - v * t, t, options)


def guided(x: Doubles, t: float, evaluate: Evaluate, options: Options, memory: Memory) -> Doubles:
    """The velocity of a step at (x, t)."""
    cond, null = evaluate(x, t)
    if null is None or not options.guides(t):
        return cond
    if options.by_angle:
        return adg(x, t, cond, null, options.guidance)
    return apg(cond, null, options.guidance, memory)


def corrected(x: Doubles, t: float, evaluate: Evaluate, options: Options) -> Doubles:
    """Heun's second velocity: guided plainly instead of by APG, whose average moves once a step; by angle while t > 0.

    (The angle's formula divides by t.)
    """
    cond, null = evaluate(x, t)
    if null is None or not options.guides(t):
        return cond
    if options.by_angle and t > 0:
        return adg(x, t, cond, null, options.guidance)
    return null + options.guidance * (cond - null)


def apg(cond: Doubles, null: Doubles, scale: float, memory: Memory) -> Doubles:
    """Adaptive projected guidance, channel by channel over the frames: momentum −0.75, norm 2.5, no parallel part."""
    difference = cond - null
    if memory.difference is not None:
        difference = difference - 0.75 * memory.difference
    memory.difference = difference
    result = np.empty_like(cond)
    for channel in range(cond.shape[1]):
        d, c = difference[:, channel], cond[:, channel]
        length = math.sqrt(float(d @ d))
        if length > 2.5:
            d = d * (2.5 / length)
        unit = c / max(math.sqrt(float(c @ c)), 1e-12)
        result[:, channel] = c + (scale - 1) * (d - float(d @ unit) * unit)
    return result


def adg(x: Doubles, t: float, cond: Doubles, null: Doubles, scale: float) -> Doubles:
    """Angle-based guidance, frame by frame: the predicted data is turned away from the unconditional one."""
    weight = max(scale - 1, 0.0) + 1e-3
    result = np.empty_like(cond)
    for frame in range(len(x)):
        a, b = x[frame] - t * cond[frame], x[frame] - t * null[frame]
        cosine = float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
        angle = math.acos(min(max(cosine, -1 + 1e-6), 1 - 1e-6))
        turned = min(max(weight * angle, -3.14 / 6), 3.14 / 6)
        across = (a - b) - float((a - b) @ b) / (float(b @ b) + 1e-8) * b
        share = math.sin(turned) / math.sin(angle) if math.sin(angle) > 1e-3 else weight
        result[frame] = (x[frame] - (math.cos(turned) * a + share * across)) / t
    return result


def bound(v: Doubles, x: Doubles, options: Options) -> Doubles:
    """The velocity, its norm over all frames and channels held to `norm_threshold` times that of x."""
    if options.norm_threshold <= 0:
        return v
    norm_v, norm_x = math.sqrt(float((v * v).sum())), math.sqrt(float((x * x).sum()))
    return v * min(1.0, options.norm_threshold * (norm_x + 1e-10) / (norm_v + 1e-10))


def smooth(v: Doubles, before: Doubles | None, options: Options) -> Doubles:
    """The velocity, averaged with the one before it."""
    return v if before is None or options.ema <= 0 else (1 - options.ema) * v + options.ema * before


def differential(x: Doubles, data: Doubles, t: float, options: Options) -> Doubles:
    """DCW: x is pushed away from the predicted data, in the whole or in bands of its Haar transform along the frames.

    The low band by t·s, the high one by (1 − t)·s; an odd number of frames has a zero after it meanwhile.
    """
    low, high = {
        "": (0.0, 0.0),
        "low": (t * options.dcw_scaler, 0.0),
        "high": (0.0, (1 - t) * options.dcw_scaler),
        "double": (t * options.dcw_scaler, (1 - t) * options.dcw_high_scaler),
        "pix": (options.dcw_scaler, options.dcw_scaler),
    }[options.dcw]
    gap = x - data
    result = x.copy()
    for frame in range(0, len(x), 2):
        pair = gap[frame], gap[frame + 1] if frame + 1 < len(x) else np.zeros_like(gap[frame])
        # With orthonormal Haar bands l = (a + b)/√2 and h = (a − b)/√2, half a sum and half a difference come back.
        sums, differences = (pair[0] + pair[1]) / 2, (pair[0] - pair[1]) / 2
        result[frame] += low * sums + high * differences
        if frame + 1 < len(x):
            result[frame + 1] += low * sums - high * differences
    return result
