"""What every app of ours does alike: one-line JSON, one shape of error, no traceback and no path to a client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from quart import Quart, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from .errors import RequestError
from .json_line import one_line
from .paced import PacedBody, PacedRequest, answer_first
from .slashes import SlashedConnection

log = logging.getLogger(__name__)


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as one line of JSON, keys in their own order (clients that grep rely on both)."""
    return Response(one_line(value), status, content_type="application/json", headers=dict(headers or {}))


def detail_body(status: int, detail: str) -> dict[str, Any]:
    """The documented body of an error."""
    return {"detail": detail}


def new_app(name: str, error_body: Callable[[int, str], dict[str, Any]] = detail_body) -> Quart:
    """A Quart app with our error answers, whose handlers read bodies with frontend.paced, each with its own limit."""
    app = Quart(name, static_folder=None)
    app.request_class, app.asgi_http_class = PacedRequest, SlashedConnection
    app.config["MAX_CONTENT_LENGTH"] = None
    app.url_map.merge_slashes = False  # a redirect is no answer that a client of these APIs expects

    def error_response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
        return json_response(error_body(status, detail), status, headers)

    async def refused(error: RequestError) -> Response:
        return error_response(error.status, error.detail, error.headers)

    async def framework_error(error: HTTPException) -> Response:
        headers = {}
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return error_response(error.code or 500, error.name, headers)

    async def fault(error: Exception) -> Response:
        log.error("unexpected error while answering a request", exc_info=error)
        return error_response(500, "Internal server error")

    async def lingering(response: Response) -> Response:
        body = request.body
        is_refusal = response.status_code >= 400 and response.status_code != 408  # that one's client is silent
        if is_refusal and isinstance(body, PacedBody) and not body.has_come:
            data = await response.get_data(as_text=False)
            response.response = response.iterable_body_class(answer_first(data, body))
        return response

    app.after_request(lingering)
    app.register_error_handler(RequestError, refused)
    app.register_error_handler(HTTPException, framework_error)
    app.register_error_handler(Exception, fault)
    return app
