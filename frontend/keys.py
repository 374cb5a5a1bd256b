"""The key of an API: who does not send it is answered 401, on every route but the probes."""

from __future__ import annotations

import hmac

from quart import Quart, request

from .errors import RequestError

OPEN_ROUTES = frozenset({"/health", "/livez", "/readyz"})
_BEARER = "bearer "
# Of a header's bytes, read as Latin-1, str.strip() takes more away: the last ones of keys in other scripts.
_BLANKS = " \t"


def check(header: str | None, key: str) -> bool:
    """Whether an Authorization header carries `key`, with or without `Bearer`; in constant time."""
    given = (header or "").strip(_BLANKS)
    if given[: len(_BEARER)].lower() == _BEARER:
        given = given[len(_BEARER) :].strip(_BLANKS)
    # The server has read the header's bytes as Latin-1.
    return hmac.compare_digest(given.encode("latin-1", "replace"), key.encode(errors="surrogateescape"))


def guard(app: Quart, key: str | None) -> None:
    """Let only requests with `key` into `app`; None or empty lets everybody in."""
    if not key:
        return

    async def ask() -> None:
        header = request.headers.get("Authorization")
        # A browser asks without the key whether it may send it (CORS preflight).
        if request.method == "OPTIONS" or request.path in OPEN_ROUTES or check(header, key):
            return
        detail = "Invalid API key" if header else "Missing Authorization header"
        raise RequestError(401, detail, {"WWW-Authenticate": "Bearer"})

    app.before_request(ask)
