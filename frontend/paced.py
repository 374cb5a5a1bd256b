"""Request bodies at the pace of their reader: a large upload never waits in memory, a slow one is not cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import NoReturn

from hypercorn.typing import ASGIReceiveCallable
from quart import Request
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.request import Body

from .errors import RequestError
from .gzipped import decompressed, is_gzip

_HIGH_WATER = 1 << 20
_IDLE_SECONDS = 60.0
_DRAIN_SECONDS = 5.0


class PacedBody(Body):
    """A body of which about _HIGH_WATER bytes wait to be read at most."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(expected_content_length, max_content_length)
        self._taken = asyncio.Event()

    @property
    def has_come(self) -> bool:
        """Whether all of it was received."""
        return self._complete.is_set()

    async def room(self) -> None:
        """Returns when more may be received."""
        while len(self._data) >= _HIGH_WATER:
            self._taken.clear()
            await self._taken.wait()

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._taken.set()
        return data

    def __await__(self) -> NoReturn:
        # Quart's own readers gather the whole body first, which would wait for room for ever.
        raise RuntimeError("bodies are read with frontend.paced.chunks")


class PacedRequest(Request):
    """A request with a PacedBody."""

    body_class = PacedBody


class PacedConnection(ASGIHTTPConnection):
    """Takes the body from the server only as fast as it is read; Quart's own takes it as fast as it comes."""

    async def handle_messages(self, request: Request, receive: ASGIReceiveCallable) -> None:
        assert isinstance(request.body, PacedBody)
        while True:
            await request.body.room()
            message = await receive()
            if message["type"] == "http.request":
                request.body.append(message.get("body", b""))
                if not message.get("more_body", False):
                    request.body.set_complete()
            elif message["type"] == "http.disconnect":
                return


async def chunks(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body piece by piece, gzip undone: 413 above `limit` bytes, before or after that, and the errors of gzipped;
    408 when nothing comes for a minute.
    """
    too_large = RequestError(413, f"Request body too large: at most {limit} bytes")
    is_compressed = is_gzip(request)
    if (request.content_length or 0) > limit:
        raise too_large
    received = _limited(_received(request), limit, too_large)
    async for data in _limited(decompressed(received), limit, too_large) if is_compressed else received:
        yield data


async def _received(request: Request) -> AsyncGenerator[bytes, None]:
    body = aiter(request.body)
    while True:
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                data = await anext(body, None)
        except TimeoutError:
            raise RequestError(408, f"Request body: nothing came for {_IDLE_SECONDS:g} seconds") from None
        if data is None:
            return
        yield data


async def _limited(
    body: AsyncGenerator[bytes, None], limit: int, too_large: RequestError
) -> AsyncGenerator[bytes, None]:
    count = 0
    async for data in body:
        count += len(data)
        if count > limit:
            raise too_large
        yield data


async def answer_first(data: bytes, body: PacedBody) -> AsyncGenerator[bytes, None]:
    """An answer's body that is sent at once; what is left of the request's is thrown away then, for a while.

    A connection that is closed with unread bytes is reset, and its client may never see the answer.
    """
    yield data
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in body:
                pass


async def whole(request: Request, limit: int) -> bytes:
    """The body in one piece; errors as `chunks`."""
    return b"".join([data async for data in chunks(request, limit)])
