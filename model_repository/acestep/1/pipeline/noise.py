"""Normal noise by (seed, purpose, position): what a song draws never depends on its length or its neighbours."""

import hashlib

import numpy as np
import numpy.typing as npt


def draw_normal(seed: int, purpose: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Standard normal float32 values; element i depends on (seed, purpose, i) alone.

    Counter-based Philox-4x64 (Salmon et al., 2011), one 64-bit word for each pair of values, made normal by
    Box and Muller (1958). A larger array begins with the values of a smaller one. The words come raw from the
    generator, because numpy promises their order for good, which it does not for its own normal distribution.
    """
    count = int(np.prod(shape))
    purpose_key = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")
    words = np.random.Philox(key=np.array([seed, purpose_key], np.uint64)).random_raw((count + 1) // 2)
    radius = np.sqrt(-2.0 * np.log(((words >> np.uint64(32)).astype(np.float64) + 0.5) * 2.0**-32))
    angle = (words & np.uint64(0xFFFFFFFF)).astype(np.float64) * (2.0 * np.pi * 2.0**-32)
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    values: npt.NDArray[np.float32] = pairs.reshape(-1)[:count].astype(np.float32)
    return values.reshape(shape)
