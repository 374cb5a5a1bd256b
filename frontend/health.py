"""What both APIs answer to GET /health."""

from __future__ import annotations

from quart import Response

from .answers import json_response


def health(service: str) -> Response:
    """The three documented keys, then `code` and `data`, without which upstream's later clients call a server down."""
    said = {"status": "ok", "service": service, "version": "1.0"}
    return json_response({**said, "code": 200, "data": said})
