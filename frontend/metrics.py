"""The frontend's metrics: one table, served at /metrics of the native API and listed in docs/metrics.md."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Metric:
    """A metric family; `labels` are its label names, `buckets` the bounds of a histogram."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SONG = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0)
_ANSWER = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
JOBS = Metric("acestep_frontend_jobs", "gauge", "Jobs that wait and run, as the job store has them.", ("state",))
QUEUE_LIMIT = Metric("acestep_frontend_queue_limit", "gauge", "Jobs that may wait.")
OLDEST = Metric("acestep_frontend_queue_oldest_seconds", "gauge", "Age of the oldest job that waits; 0 when none does.")
READY = Metric("acestep_frontend_ready", "gauge", "1 once the models have been ready for the first time.")
IN_FLIGHT_LIMIT = Metric("acestep_frontend_in_flight_limit", "gauge", "Songs that this frontend has made at a time.")
FOLLOWERS = Metric("acestep_frontend_followers", "gauge", "Clients that follow a job live.")
ENDED = Metric(
    "acestep_frontend_jobs_ended_total", "counter", "Jobs ended, by API and outcome: succeeded or an error_code.",
    ("api", "outcome"))
RETURNED = Metric(
    "acestep_frontend_jobs_returned_total", "counter", "Attempts that failed and gave their job back to the queue.")
LEASES_LOST = Metric(
    "acestep_frontend_leases_lost_total", "counter", "Workers' writes refused: the job was ended, or given to another.")
AUDIO_SECONDS = Metric("acestep_frontend_audio_seconds_total", "counter", "Seconds of audio in finished files.")
WAIT = Metric(
    "acestep_frontend_job_wait_seconds", "histogram", "From submission to the first attempt.", buckets=(0.05, *_SONG))
RUN = Metric("acestep_frontend_job_run_seconds", "histogram", "From the last attempt to success.", buckets=_SONG)
REQUESTS = Metric(
    "acestep_frontend_http_requests_total", "counter", "Requests answered, by route template.",
    ("api", "method", "route", "status"))
RESPONSE = Metric(
    "acestep_frontend_http_response_seconds", "histogram",
    "From a request's head to its answer's; a stream's body comes after that.", ("api", "route"), _ANSWER)
METRICS = (
    JOBS, QUEUE_LIMIT, OLDEST, READY, IN_FLIGHT_LIMIT, FOLLOWERS, ENDED, RETURNED, LEASES_LOST, AUDIO_SECONDS, WAIT,
    RUN, REQUESTS, RESPONSE,
)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Meter:
    """Counts what one frontend does, by METRICS."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._families = {metric: self._family(metric) for metric in METRICS}

    def add(self, metric: Metric, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter, set a gauge, or observe a histogram's value."""
        family = self._families[metric]
        child = family.labels(**labels) if labels else family
        match child:
            case Counter():
                child.inc(amount)
            case Gauge():
                child.set(amount)
            case Histogram():
                child.observe(amount)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def _family(self, metric: Metric) -> Counter | Gauge | Histogram:
        if metric.kind == "histogram":
            return Histogram(
                metric.name, metric.help, metric.labels, registry=self._registry, buckets=metric.buckets)
        kind = Counter if metric.kind == "counter" else Gauge
        return kind(metric.name, metric.help, metric.labels, registry=self._registry)


def describe_metrics() -> str:
    """The frontend's part of docs/metrics.md."""
    rows = [f"| `{m.name}` | {m.kind} | {', '.join(m.labels) or '-'} | {m.help} |" for m in METRICS]
    return "\n".join([
        "", "## The frontend's own", "",
        "Written from `frontend/metrics.py`. Served at `/metrics` of the native API (8001); with `ACESTEP_API_KEY` the",
        "scraper needs the key.", "",
        "| name | kind | labels | meaning |", "| --- | --- | --- | --- |", *rows])


if __name__ == "__main__":
    if sys.argv[1:] != ["--docs"]:
        sys.exit("usage: python -m frontend.metrics --docs")
    print(describe_metrics())
