"""Web pages of other origins: those that are allowed may read every answer, all others may change nothing."""

from __future__ import annotations

from quart import Quart, request
from quart_cors import cors

from .errors import RequestError
from .origins import Origins

_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
# Headers of our answers that scripts could not read otherwise.
EXPOSED = (
    "Accept-Encoding", "Accept-Ranges", "Allow", "Content-Disposition", "Content-Length", "Content-Range", "ETag",
    "Location", "Retry-After", "WWW-Authenticate", "X-Not-Used", "x-should-retry",
)
_PREFLIGHT_SECONDS = 600
_REFUSED = "Origin: pages from there may change nothing here; CORS_ORIGINS lists those that may"


def open_to(app: Quart, origins: Origins) -> None:
    """Serve pages of `origins`: quart-cors answers preflights and marks every answer, errors and streams too.

    Any request header is allowed to those pages, since SDKs send some of their own (`x-stainless-*`, `X-Title`). There
    are no cookies, so no credentials are. quart-cors refuses no request, so that is done here, before a body is read.
    """
    cors(app, allow_origin=origins.patterns, allow_headers=["*"], allow_methods=_METHODS, expose_headers=EXPOSED,
         max_age=_PREFLIGHT_SECONDS, send_origin_wildcard=True)

    async def refuse() -> None:
        sent = request.headers
        if request.method not in _HARMLESS and not origins.may_change(
                sent.get("Origin"), sent.get("Host", ""), sent.get("Sec-Fetch-Site")):
            raise RequestError(403, _REFUSED)

    app.before_request(refuse)
