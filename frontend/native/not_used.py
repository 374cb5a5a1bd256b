"""What a request said and its route does not read, named in answers that are no job: `not_used`, after all other keys.

It is there only when there is something to name. An answer that is no JSON object names it in a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from quart import Quart, Response, g, request

from frontend.json_line import one_line
from frontend.openapi.native import operations
from frontend.unread import listed

from . import sample

HEADER = "X-Not-Used"
_CONVERTER = re.compile("<[a-z]+:")  # Quart's, which the documentation leaves out
_LONGEST = 1000  # of a header; proxies refuse long ones


def name_in_answer(lines: Iterable[str]) -> None:
    """Have the answer to this request hold these lines too."""
    g.not_used = [*g.get("not_used", ()), *lines]


def name_unread(app: Quart) -> None:
    """Have every answer of `app` name the query parameters that its route does not read."""
    read = {each.path: {entry["name"] for entry in each.parameters if entry["in"] == "query"} for each in operations()}

    async def end(response: Response) -> Response:
        rule = None if request.url_rule is None else _CONVERTER.sub("<", request.url_rule.rule)
        if rule is None or response.status_code >= 400:
            return response
        if rule != sample.PATH:  # its job names them
            strangers = [name for name in request.args if name not in read[rule]]
            if strangers:
                name_in_answer([f"not used, because no parameter is called so: {listed(strangers)}"])
        if lines := g.get("not_used", ()):
            await _add(response, lines)
        return response

    app.after_request(end)


async def _add(response: Response, lines: Iterable[str]) -> None:
    """The lines at the end of a JSON object, which need not be read for it, or in the header."""
    if response.mimetype == "application/json":
        text: str = await response.get_data(as_text=True)
        if text.startswith("{") and text.rstrip().endswith("}"):
            response.set_data(text.rstrip()[:-1] + f', "not_used": {one_line(list(lines))}}}')
            return
    response.headers[HEADER] = "; ".join(lines).encode("ascii", "backslashreplace").decode()[:_LONGEST]
