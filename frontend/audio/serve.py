"""Answers with an audio file: HEAD, single byte ranges, ETag."""

from __future__ import annotations

import asyncio
from pathlib import Path

from quart import Response
from quart.wrappers import Request
from quart.wrappers.response import FileBody
from werkzeug.datastructures import Range
from werkzeug.http import parse_range_header

from frontend.errors import RequestError

from .formats import SONG_FORMATS

_BUFFER = 1 << 18


async def serve_file(request: Request, file: Path, audio_format: str) -> Response:
    """`file` (200), the one range of it that is asked for (206, 416 beyond its end), or 304.

    A Range header that is malformed, has other units or names several ranges is ignored, as RFC 9110 allows. Quart's
    own send_file is not used: it answers 500 to a range counted from the end.
    """
    try:
        body = await asyncio.to_thread(FileBody, file, buffer_size=_BUFFER)
    except FileNotFoundError:
        raise RequestError(404, "Audio file not found") from None
    tag = file.stem  # names are random and files never change, so the name says it all
    headers = {"ETag": f'"{tag}"', "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=86400"}
    if request.if_none_match.contains_weak(tag):
        return Response(status=304, headers=headers)
    status = 200
    if asked := _range(request, tag):
        begin, end = asked.ranges[0]
        if begin >= body.size:
            raise RequestError(416, "Range: lies beyond the end of the file", {"Content-Range": f"bytes */{body.size}"})
        status, body.begin, body.end = 206, max(begin, 0), min(end or body.size, body.size)
        if begin < 0:  # counted from the end
            body.begin = max(body.size + begin, 0)
        headers["Content-Range"] = f"bytes {body.begin}-{body.end - 1}/{body.size}"
    response = Response(body, status, headers, content_type=SONG_FORMATS[audio_format].content_type)
    response.timeout = None  # a slow reader may take longer than the minute that answers have otherwise
    response.content_length = body.end - body.begin
    return response


def _range(request: Request, tag: str) -> Range | None:
    """The range to serve, or None; If-Range with another file's tag or a date means the whole file."""
    asked = parse_range_header(request.headers.get("Range"))
    if request.method != "GET" or asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    condition = request.headers.get("If-Range")
    return asked if condition is None or condition == f'"{tag}"' else None
