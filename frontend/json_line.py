"""JSON on one line, for clients that read line by line."""

from __future__ import annotations

import json

# JSON may hold these as they are, but text readers (Python's splitlines, httpx's iter_lines) end a line at them.
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}


def one_line(value: object) -> str:
    """`value` as JSON, keys in their own order, in one line by anybody's reckoning."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).translate(_LINE_ENDS)
