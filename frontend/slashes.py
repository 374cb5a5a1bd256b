"""A path that ends in a slash is answered like the one without it, by every route and for every method."""

from __future__ import annotations

from hypercorn.typing import HTTPScope
from quart import Quart

from .paced import PacedConnection


class SlashedConnection(PacedConnection):
    """A connection whose request has lost the slash at its end before anything looks at its path.

    A redirect would not do: clients make a GET of a redirected POST, and leave the key behind.
    """

    def __init__(self, app: Quart, scope: HTTPScope) -> None:
        path = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            scope["path"] = path[:-1]
        super().__init__(app, scope)
