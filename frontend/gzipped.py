"""Bodies that are sent compressed: gzip (RFC 1952) is undone as it arrives, any other coding is refused."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterator

from quart import Request

from .errors import RequestError

_PIECE = 1 << 16  # a fraction of a millisecond's work
_GZIP = 31  # zlib's window bits for a gzip member
_NAMES = ("gzip", "x-gzip")
_SHOWN = 40


def is_gzip(request: Request) -> bool:
    """Whether the body must be decompressed; 415 for a Content-Encoding that is neither gzip nor identity."""
    sent = ", ".join(request.headers.getlist("Content-Encoding"))
    codings = [name for part in sent.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if codings and (len(codings) > 1 or codings[0] not in _NAMES):
        shown = "".join(filter(str.isprintable, sent))[:_SHOWN]
        raise RequestError(415, f"Content-Encoding: {shown} is not decoded here; use gzip or identity",
                           {"Accept-Encoding": "gzip, identity"})
    return bool(codings)


async def decompressed(body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """What a gzip body holds, in small pieces; 400 for what is no gzip and for one that is cut off."""
    gunzip = Gunzip()
    try:
        async for data in body:
            for piece in gunzip.feed(data):
                if piece:
                    yield piece
                await asyncio.sleep(0)  # a little data may hold very much, or very many empty members
    except zlib.error:
        raise _broken() from None
    if gunzip.is_within:
        raise _broken()


class Gunzip:
    """Undoes gzip; a body may have several members, one after the other."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None

    @property
    def is_within(self) -> bool:
        """Whether a member has begun and not ended."""
        return self._member is not None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What comes out of `data`, at most _PIECE bytes at a time, also nothing at times. Errors: zlib.error."""
        for begin in range(0, len(data), _PIECE):
            yield from self._feed(data[begin : begin + _PIECE])

    def _feed(self, data: bytes) -> Iterator[bytes]:
        while data or self._member is not None:
            if self._member is None:
                self._member = zlib.decompressobj(wbits=_GZIP)
            piece = self._member.decompress(data, _PIECE)
            yield piece
            if self._member.eof:
                data, self._member = self._member.unused_data, None
                continue
            data = self._member.unconsumed_tail
            if not data and len(piece) < _PIECE:  # a full piece may have left something inside
                return


def _broken() -> RequestError:
    return RequestError(400, "Content-Encoding: the body is no gzip, or is cut off")
