"""Token ids out of which the next one is picked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch


class TokenSet:
    """Different ids, ascending, ready on every device that asked for them."""

    def __init__(self, ids: npt.ArrayLike) -> None:
        self._on = {torch.device("cpu"): torch.from_numpy(np.unique(np.asarray(ids, np.int64)))}

    def __len__(self) -> int:
        return self._on[torch.device("cpu")].numel()

    def on(self, device: torch.device) -> torch.Tensor:
        """The ids as an int64 tensor there."""
        if device not in self._on:
            self._on[device] = self._on[torch.device("cpu")].to(device)
        return self._on[device]


# One token or a run of them (the audio codes, the whole vocabulary) needs no list.
Allowed = range | TokenSet


def gather(ids: npt.ArrayLike) -> Allowed:
    """The ids as a run if they are one."""
    tokens = np.unique(np.asarray(ids, np.int64))
    if tokens.size and tokens[-1] - tokens[0] + 1 == tokens.size:
        return range(int(tokens[0]), int(tokens[-1]) + 1)
    return TokenSet(tokens)
