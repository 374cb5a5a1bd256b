"""HTTP requests counted and timed."""

from __future__ import annotations

import time

from quart import Quart, Response, g, request

from .metrics import REQUESTS, RESPONSE, Meter

_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})


def watch(app: Quart, meter: Meter) -> None:
    """Tell `meter` of every answer of `app`; label values are ours alone, whatever a client asks for."""

    async def begin() -> None:
        g.begin = time.perf_counter()

    async def end(response: Response) -> Response:
        route = "other" if request.url_rule is None else request.url_rule.rule
        method = request.method if request.method in _METHODS else "other"
        meter.add(REQUESTS, api=app.name, method=method, route=route, status=str(response.status_code))
        meter.add(RESPONSE, time.perf_counter() - g.get("begin", time.perf_counter()), api=app.name, route=route)
        return response

    app.before_request_funcs[None].insert(0, begin)  # before a guard may refuse
    app.after_request(end)
