"""The pipeline's metrics: one table, served on Triton's metrics port and listed in docs/metrics.md."""

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Metric:
    """A metric family; `labels` are its label names, `buckets` the bounds of a histogram."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


SONGS = Metric("acestep_songs_total", "counter", "Songs ended, by outcome: done or an error status.", ("outcome",))
SONGS_IN_FLIGHT = Metric("acestep_songs_in_flight", "gauge", "Songs being made.")
DIT_CALLS = Metric("acestep_dit_calls_total", "counter", "DiT calls.", ("model",))
DIT_ROWS = Metric("acestep_dit_rows_total", "counter", "Rows in DiT calls; over calls, the mean batch.", ("model",))
DIT_BYTES = Metric("acestep_dit_copied_bytes_total", "counter", "Bytes copied to and from DiT calls.", ("model",))
LM_ROWS = Metric("acestep_lm_rows_total", "counter", "Rows that an LM engine ended; a guided text is two.", ("model",))
LM_TOKENS = Metric("acestep_lm_tokens_total", "counter", "Tokens that those rows were given.", ("model",))
AUDIO_SECONDS = Metric("acestep_audio_seconds_total", "counter", "Seconds of audio sent.")
LOOP_LAG = Metric(
    "acestep_event_loop_lag_seconds", "histogram", "How late the pipeline's event loop wakes up.",
    buckets=(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0))
METRICS = (SONGS, SONGS_IN_FLIGHT, DIT_CALLS, DIT_ROWS, DIT_BYTES, LM_ROWS, LM_TOKENS, AUDIO_SECONDS, LOOP_LAG)

LAG_INTERVAL = 0.05


class Meter(Protocol):
    """Where measurements go."""

    def add(self, metric: Metric, amount: float, **labels: str) -> None:
        """Adds to a counter or gauge, or observes a histogram's value."""


async def watch_loop_lag(meter: Meter) -> None:
    """Measures for ever how late a timer of 50 ms fires."""
    while True:
        begin = time.perf_counter()
        await asyncio.sleep(LAG_INTERVAL)
        meter.add(LOOP_LAG, max(0.0, time.perf_counter() - begin - LAG_INTERVAL))


def describe_metrics() -> str:
    """docs/metrics.md."""
    rows = [f"| `{m.name}` | {m.kind} | {', '.join(m.labels) or '-'} | {m.help} |" for m in METRICS]
    return "\n".join([
        "# Metrics", "",
        "Written by `make docs` from `model_repository/acestep/1/pipeline/metrics.py`. Served on Triton's metrics port",
        "(`/metrics`, 18002) beside Triton's own `nv_inference_*` families.", "",
        "| name | kind | labels | meaning |", "| --- | --- | --- | --- |", *rows])


if __name__ == "__main__":
    print(describe_metrics())
