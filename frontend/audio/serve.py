"""Answers with an audio file: HEAD, Range, ETag."""

from __future__ import annotations

from pathlib import Path

from quart import Response, send_file

from frontend.errors import RequestError

from .encode import CONTENT_TYPES


async def serve_file(file: Path, audio_format: str) -> Response:
    """`file` with its content type, or the part of it that the request's Range asks for (206, 416)."""
    try:
        return await send_file(file, mimetype=CONTENT_TYPES[audio_format], conditional=True)
    except FileNotFoundError:
        raise RequestError(404, "Audio file not found") from None
