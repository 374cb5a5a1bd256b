"""GET /openapi.json and GET /docs: what an API takes and answers."""

from __future__ import annotations

from quart import Blueprint, Response

from frontend.answers import json_response

from .page import page
from .schema import Json


def documentation(described: Json) -> Blueprint:
    """The two routes."""
    routes = Blueprint("documentation", __name__)
    shown = page(described)

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        return json_response(described)

    @routes.get("/docs")
    async def docs() -> Response:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return Response(shown, content_type="text/html; charset=utf-8", headers=policy)

    return routes
