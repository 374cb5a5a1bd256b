"""GET /metrics: what the frontend counts, in Prometheus' text format."""

from __future__ import annotations

import time

from quart import Blueprint, Response

from frontend.metrics import CONTENT_TYPE, FOLLOWERS, IN_FLIGHT_LIMIT, JOBS, OLDEST, QUEUE_LIMIT, READY
from frontend.services import Services


def metrics(services: Services) -> Blueprint:
    """The route; gauges are read when they are asked for."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    async def show() -> Response:
        meter, stats = services.meter, await services.store.stats(services.settings.avg_window)
        meter.add(JOBS, stats.queued, state="queued")
        meter.add(JOBS, stats.running, state="running")
        meter.add(OLDEST, 0.0 if stats.oldest is None else max(0.0, time.time() - stats.oldest))
        meter.add(QUEUE_LIMIT, services.settings.queue_maxsize)
        meter.add(READY, services.catalogue is not None)
        meter.add(IN_FLIGHT_LIMIT, services.in_flight())
        meter.add(FOLLOWERS, services.live.followers())
        return Response(meter.text(), content_type=CONTENT_TYPE)

    return routes
