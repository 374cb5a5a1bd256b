"""Exported graphs, called by name by the pipeline and by the oracle alike; what was asked before is not run again."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

Arrays = dict[str, npt.NDArray[Any]]
_HOP = 1_920


class Graphs:
    """Graphs of a repository in ONNX Runtime, on one thread each.

    Sources and texts are the same in many songs, so what a graph answered once it answers again without running. The
    DiT and the decoder always run: hardly any call of theirs comes twice.
    """

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._answers: dict[tuple[str, bytes], list[npt.NDArray[Any]]] = {}

    def run(self, model: str, inputs: Arrays) -> list[npt.NDArray[Any]]:
        """All outputs of a graph."""
        if model.endswith("-dit") or model == "vae_decoder":
            return self._run(model, inputs)
        key = model, b"".join(name.encode() + str(array.shape).encode() + array.tobytes()
                              for name, array in sorted(inputs.items()))
        if key not in self._answers:
            self._answers[key] = self._run(model, inputs)
        return self._answers[key]

    def run_silently(self, model: str, inputs: Arrays) -> list[npt.NDArray[Any]]:
        """The same with a decoder that decodes to silence, for songs whose latents alone are compared."""
        if model == "vae_decoder":
            rows, frames, _ = inputs["latents"].shape
            return [np.zeros((rows, 2, frames * _HOP), np.float32)]
        return self.run(model, inputs)

    def _run(self, model: str, inputs: Arrays) -> list[npt.NDArray[Any]]:
        if model not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            path = self._repository / model / "1" / "model.onnx"
            self._sessions[model] = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"])
        outputs: list[npt.NDArray[Any]] = self._sessions[model].run(None, inputs)
        return outputs
