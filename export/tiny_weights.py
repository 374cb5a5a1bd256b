"""Values of the embedded checkpoint's tensors: random, the same on every machine, none of them all 0 or all 1."""

import math
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_TABLES = ("text_encoder.embed_tokens.weight", "condition_encoder.null_condition_emb")

Shapes = Mapping[str, tuple[int, ...]]


def draw(shapes: Shapes, seed: int, scope: str) -> dict[str, Array]:
    """One tensor per name. Each has a generator of its own, so that no tensor depends on the others' order.

    shapes: parameter name -> shape. scope: the module's name, so that equal names in two modules differ.
    """
    scoped = {f"{scope}.{name}": shape for name, shape in shapes.items()}
    return {name: _tensor(f"{scope}.{name}", scoped, seed) for name in shapes}


def silence(frames: int, channels: int, seed: int) -> Array:
    """A stand-in for encoded silence, as stored upstream: [1, channels, frames]."""
    return (0.5 * _generator(seed, "silence").standard_normal((1, channels, frames))).astype(np.float32)


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))


def _tensor(name: str, shapes: Shapes, seed: int) -> Array:
    shape = shapes[name]
    normal = _generator(seed, name).standard_normal(shape)
    return (_mean(name, shapes) + _deviation(name, shape) * normal).astype(np.float32)


def _mean(name: str, shapes: Shapes) -> float:
    """Where PyTorch initialises to a constant, values stay around that constant."""
    if name.endswith("weight_g"):
        return _weight_norm_gain(name, shapes)
    if name.endswith(".beta"):
        return 1.0  # at 0 the chain of 36 sine activations would magnify rounding errors a hundredfold
    return 1.0 if _is_norm(name) else 0.0


def _deviation(name: str, shape: tuple[int, ...]) -> float:
    if name.endswith("weight_v"):
        return 1.0  # only its direction counts
    if name.endswith("weight_g"):
        return 0.05
    if _is_norm(name):
        return 0.2
    if name.endswith((".alpha", ".beta", "scale_shift_table")):
        return 0.3
    if name.endswith(".bias"):
        return 0.1
    if len(shape) < 2 or "special_token" in name or name in _TABLES:
        return 1.0
    inputs = shape[0] if "proj_out_conv" in name else math.prod(shape[1:])  # a transposed convolution has inputs first
    return 1.0 / math.sqrt(inputs)


def _is_norm(name: str) -> bool:
    parts = name.split(".")
    return parts[-1] == "weight" and len(parts) > 1 and "norm" in parts[-2]


def _weight_norm_gain(name: str, shapes: Shapes) -> float:
    """Gain that keeps the signal's size near 1 from layer to layer."""
    shape = shapes[name.removesuffix("_g") + "_v"]
    if "conv_t1" in name:
        inputs, outputs, kernel = shape
        return math.sqrt(outputs * kernel / 2 / inputs)  # two taps reach each output sample
    if "res_unit" in name:
        return 0.8 if "conv1" in name else 0.4  # residual branches, three per block, must not blow up
    return 0.03 if name == "vae.decoder.conv2.weight_g" else 1.0  # the last one sets how loud the audio is
