"""What Triton's Python stub must do right before a model may trust its tensors."""

from __future__ import annotations

from typing import Any

import numpy as np


def corruption(pb_utils: Any) -> str | None:
    """One line that says that the stub around `pb_utils` spoils tensors, None if it does not.

    A stub that was compiled before numpy 2 reads numpy 2's array descriptors at the wrong place: what it gets keeps its
    shape and loses its values, without an error. Newer stubs read both. A tensor that was made from a NumPy array hands
    that array back; only one that was made from memory shows what the stub makes of its requests.
    """
    sent = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = pb_utils.Tensor.from_dlpack("probe", pb_utils.Tensor("probe", sent).to_dlpack()).as_numpy()
    if np.array_equal(found, sent):
        return None
    return f"this Triton's Python stub corrupts tensors with numpy {np.__version__}: install numpy 1.26.4"
