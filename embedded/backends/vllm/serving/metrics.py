"""vLLM's statistics as Triton metrics: the official backend's names and bounds, and how many requests there are."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import triton_python_backend_utils as pb_utils
from vllm.config import VllmConfig
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

COUNTERS = {
    "vllm:prompt_tokens_total": "Number of prefill tokens processed.",
    "vllm:generation_tokens_total": "Number of generation tokens processed.",
}
RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
GAUGES = {
    RUNNING: "Number of requests that the engine is working on.",
    WAITING: "Number of requests that wait to be scheduled, or for the other half of their pair.",
}
FIRST_TOKEN = (.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1.0, 2.5, 5.0, 7.5, 10.0)
EACH_TOKEN = (.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1.0, 2.5)
WHOLE_REQUEST = (1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)
HISTOGRAMS: dict[str, tuple[str, tuple[float, ...] | None]] = {
    "vllm:time_to_first_token_seconds": ("Histogram of time to first token in seconds.", FIRST_TOKEN),
    "vllm:time_per_output_token_seconds": ("Histogram of time per output token in seconds.", EACH_TOKEN),
    "vllm:e2e_request_latency_seconds": ("Histogram of end to end request latency in seconds.", WHOLE_REQUEST),
    "vllm:request_prompt_tokens": ("Number of prefill tokens processed.", None),  # bounds by the longest request
    "vllm:request_generation_tokens": ("Number of generation tokens processed.", None),
    "vllm:request_params_n": ("Histogram of the n request parameter.", (1.0, 2.0, 5.0, 10.0, 20.0)),
}


@dataclass(frozen=True)
class _Report:
    """What one step of the engine, or the coming and going of requests, changed; None: as it was."""

    running: int | None = None
    requests: int | None = None
    counts: Counter[str] = field(default_factory=Counter)
    observed: dict[str, Sequence[float]] = field(default_factory=dict)


class _Logger(StatLoggerBase):  # type: ignore[misc]  # vLLM's types are not read
    """Turns vLLM's statistics of a step into a report."""

    def __init__(self, vllm_config: VllmConfig, reports: queue.SimpleQueue[_Report]) -> None:
        self._queue = reports

    def record(
        self, scheduler_stats: SchedulerStats | None, iteration_stats: IterationStats | None, *_: Any, **__: Any
    ) -> None:
        counts: Counter[str] = Counter()
        observed: dict[str, Sequence[float]] = {}
        if iteration_stats is not None:
            step, done = iteration_stats, iteration_stats.finished_requests
            counts.update(dict(zip(COUNTERS, (step.num_prompt_tokens, step.num_generation_tokens), strict=True)))
            observed = dict(zip(HISTOGRAMS, (
                step.time_to_first_tokens_iter, step.inter_token_latencies_iter,
                [each.e2e_latency for each in done], [each.num_prompt_tokens for each in done],
                [each.num_generation_tokens for each in done], step.n_params_iter,
            ), strict=True))
        running = scheduler_stats.num_running_reqs if scheduler_stats is not None else None
        self._queue.put(_Report(running, counts=counts, observed=observed))

    def log_engine_initialized(self) -> None:
        """Nothing to say."""


def token_bounds(longest: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, 50, ... up to the longest request."""
    bounds = (float(digit * 10**power) for power in range(len(str(longest))) for digit in (1, 2, 5))
    return tuple(bound for bound in bounds if bound <= longest)


def create(labels: dict[str, str], longest: int) -> Metrics | None:
    """The metrics of a model; None where the server reports none."""
    try:
        return Metrics(labels, longest)
    except pb_utils.TritonModelException as error:
        if "not supported" not in str(error):
            raise
        return None


class Metrics:
    """Tells Triton from a thread of its own: each number is a call to the server, and the engine must not wait."""

    def __init__(self, labels: dict[str, str], longest: int) -> None:
        family = pb_utils.MetricFamily
        self._metrics: dict[str, Any] = {}
        self._families = []  # a metric ends with its family
        for kind, texts in ((family.COUNTER, COUNTERS), (family.GAUGE, GAUGES)):
            for name, text in texts.items():
                self._families.append(family(name=name, description=text, kind=kind))
                self._metrics[name] = self._families[-1].Metric(labels=labels)
        for name, (text, bounds) in HISTOGRAMS.items():
            self._families.append(family(name=name, description=text, kind=family.HISTOGRAM))
            bounds = bounds or token_bounds(longest)
            self._metrics[name] = self._families[-1].Metric(labels=labels, buckets=list(bounds))
        for name in GAUGES:
            self._metrics[name].set(0)  # an engine before this one may have died in the midst of it
        self._queue: queue.SimpleQueue[_Report] = queue.SimpleQueue()
        threading.Thread(target=self._tell, name="metrics", daemon=True).start()

    def logger(self, config: VllmConfig, engine_index: int = 0) -> StatLoggerBase:
        """vLLM's factory of a logger; it calls it once per engine."""
        return _Logger(config, self._queue)

    def count_requests(self, number: int) -> None:
        """How many requests the model has in hand. The engine says nothing of them while it has nothing to do."""
        self._queue.put(_Report(requests=number))

    def _tell(self) -> None:
        running = requests = 0
        while True:
            reports = [self._queue.get()]
            while not self._queue.empty():
                reports.append(self._queue.get())
            for report in reports:
                running = running if report.running is None else report.running
                requests = requests if report.requests is None else report.requests
            self._metrics[RUNNING].set(running)
            self._metrics[WAITING].set(max(0, requests - running))
            for name, count in sum((report.counts for report in reports), Counter()).items():
                self._metrics[name].increment(count)
            for report in reports:
                for name, values in report.observed.items():
                    for value in values:
                        self._metrics[name].observe(value)
