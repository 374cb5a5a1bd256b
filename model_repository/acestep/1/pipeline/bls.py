"""Triton's side of the seams: models called by business-logic scripting, metrics on Triton's port."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from .errors import broken
from .metrics import DIT_BYTES, DIT_CALLS, DIT_ROWS, METRICS, Meter, Metric
from .models import Codes, Condition, DitCall, Floats
from .tokens import TokenIds


class TritonMeter:
    """A Meter on Triton's custom metrics."""

    def __init__(self) -> None:
        kinds = {"counter": pb_utils.MetricFamily.COUNTER, "gauge": pb_utils.MetricFamily.GAUGE,
                 "histogram": pb_utils.MetricFamily.HISTOGRAM}
        self._families = {
            metric.name: pb_utils.MetricFamily(name=metric.name, description=metric.help, kind=kinds[metric.kind])
            for metric in METRICS
        }
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], Any] = {}

    def add(self, metric: Metric, amount: float, **labels: str) -> None:
        """See Meter."""
        key = (metric.name, tuple(sorted(labels.items())))
        if key not in self._series:
            extra = {"buckets": list(metric.buckets)} if metric.buckets else {}
            self._series[key] = self._families[metric.name].Metric(labels=labels, **extra)
        if metric.kind == "histogram":
            self._series[key].observe(amount)
        else:
            self._series[key].increment(amount)


class TritonModels:
    """Models served by the same Triton."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    async def condition(self, dit: str, prompt: TokenIds, lyrics: TokenIds, timbre: Floats) -> Condition:
        """See Models."""
        hidden, mask = await _infer(
            f"{dit}-conditioning",
            {
                "prompt_ids": prompt.ids[None], "prompt_mask": np.ones((1, len(prompt.ids)), np.bool_),
                "lyric_ids": lyrics.ids[None], "lyric_mask": np.ones((1, len(lyrics.ids)), np.bool_),
                "refer_latents": np.ascontiguousarray(timbre[None]),
            },
            ("encoder_hidden_states", "encoder_mask"),
        )
        return Condition(hidden[0][mask[0]])

    async def velocity(self, dit: str, call: DitCall) -> Floats:
        """See Models."""
        inputs = vars(call)
        (velocity,) = await _infer(f"{dit}-dit", inputs, ("velocity",))
        self._meter.add(DIT_CALLS, 1, model=dit)
        self._meter.add(DIT_ROWS, len(call.timestep), model=dit)
        self._meter.add(DIT_BYTES, sum(array.nbytes for array in inputs.values()) + velocity.nbytes, model=dit)
        return velocity

    async def encode(self, audio: Floats) -> tuple[Floats, Floats]:
        """See Models."""
        mean, std = await _infer("vae_encoder", {"audio": np.ascontiguousarray(audio[None])}, ("mean", "std"))
        return mean[0], std[0]

    async def tokenize(self, dit: str, latents: Floats) -> Codes:
        """See Models."""
        (codes,) = await _infer(f"{dit}-tokenize", {"latents": np.ascontiguousarray(latents[None])}, ("codes",))
        first: Codes = codes[0]
        return first

    async def detokenize(self, dit: str, codes: Codes) -> Floats:
        """See Models."""
        (latents,) = await _infer(f"{dit}-detokenize", {"codes": codes[None]}, ("latents",))
        first: Floats = latents[0]
        return first

    async def decode(self, latents: Floats) -> Floats:
        """See Models."""
        (audio,) = await _infer("vae_decoder", {"latents": np.ascontiguousarray(latents[None])}, ("audio",))
        first: Floats = audio[0]
        return first


async def _infer(
    model: str, inputs: Mapping[str, npt.NDArray[Any]], outputs: tuple[str, ...]
) -> list[npt.NDArray[Any]]:
    """One call of another model of this server. Errors: 503 when it is away, 500 when it fails."""
    response = await pb_utils.InferenceRequest(
        model_name=model,
        requested_output_names=list(outputs),
        inputs=[pb_utils.Tensor(name, array) for name, array in inputs.items()],
        # A model on a GPU leaves its outputs there unless it is asked, and what lies there is no NumPy array.
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
    ).async_exec()
    if response.has_error():
        raise broken(model, response.error().message())
    return [pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in outputs]
