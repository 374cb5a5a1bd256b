"""multipart/form-data, read as it arrives: texts into a dict, uploaded files straight to disk."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from frontend import unbuilt
from frontend.errors import RequestError
from frontend.uploads import Intake, Sink

from .fields import FILES, LISTED, NAMES

_PIECE = 1 << 14  # a few milliseconds of decoding, whatever is in it
_LINE_BREAK = re.compile(rb"[\r\n]")
_MAX_HEAD = 1 << 13  # a part's headers, and what may come before the first part and after the last one
_MAX_PARTS = 1000


class Part(Protocol):
    """Where a part's bytes go."""

    async def write(self, data: bytes) -> None: ...

    async def close(self) -> None: ...


async def read_form(
    content_type: str, body: AsyncIterator[bytes], text_limit: int, intake: Intake | None
) -> dict[str, object]:
    """The texts by name, the first of repeated names, all of those that may be a list.

    Files go to `intake`; None reads past them. Errors: 400, 413.
    `text_limit` bytes is what all texts and headers of parts may have together.
    """
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not 0 < len(boundary) <= 200:
        raise RequestError(400, "multipart/form-data: the boundary is missing")
    decoder = MultipartDecoder(boundary.encode(), _MAX_HEAD + _PIECE, max_parts=_MAX_PARTS)
    texts = Texts(text_limit)
    part: Part = texts
    async for event in _events(decoder, body):
        match event:
            case Field(str(name), headers):
                texts.charge(_size(headers))
                part = NamelessFile(name) if name in FILES else texts.begin(name)
            case File(str(name), filename, headers):
                texts.charge(_size(headers))
                part = FilePart(name, filename, intake)
            case Field() | File():
                raise _broken()
            case Data(data, more_data):
                await part.write(data)
                if not more_data:
                    await part.close()
    return dict(texts.values)


class Texts:
    """The text parts, one after the other; 413 when they hold more than `limit` bytes together."""

    def __init__(self, limit: int) -> None:
        self.values: dict[str, str | list[str]] = {}
        self._left = limit
        self._limit = limit
        self._name = ""
        self._data = bytearray()

    def begin(self, name: str) -> Texts:
        """What is written from here on is the text of `name`."""
        self._name, self._data = name, bytearray()
        return self

    def charge(self, count: int) -> None:
        """Count bytes of something else that stays in memory or is slow to read."""
        self._left -= count
        if self._left < 0:
            raise RequestError(413, f"multipart/form-data: at most {self._limit} bytes of text")

    async def write(self, data: bytes) -> None:
        self.charge(len(data))
        self._data += data

    async def close(self) -> None:
        try:
            text = self._data.decode()
        except UnicodeDecodeError:
            raise RequestError(400, "multipart/form-data: text must be UTF-8") from None
        before = self.values.setdefault(self._name, text)
        if before is not text and self._name in LISTED:
            self.values[self._name] = [*(before if isinstance(before, list) else [before]), text]


class NamelessFile:
    """A part that should be a file and has no file name: text, which may only be blank."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def write(self, data: bytes) -> None:
        if data.strip():
            raise not_uploaded(self._name, "its part of the form has no file name")

    async def close(self) -> None:
        pass


class FilePart:
    """A part with a file name. The name says nothing but that: an empty one without bytes is an unused form input."""

    def __init__(self, name: str, filename: str, intake: Intake | None) -> None:
        if name in NAMES:
            raise RequestError(400, f"{name}: must be text, not a file")
        if name in unbuilt.NAMES:
            raise RequestError(400, f"{name}: is not built yet; no file passes")
        self._name = name
        self._field = FILES.get(name)
        self._is_used = filename != ""
        self._intake = intake
        self._sink: Sink | None = None

    async def write(self, data: bytes) -> None:
        if self._intake is None or not (data or self._is_used):
            return
        if self._field is None:
            self._intake.pass_over(self._name)
            return
        self._sink = self._sink or self._intake.receive(self._field, self._name)
        await self._sink.write(data)

    async def close(self) -> None:
        if self._sink is not None:
            await self._sink.close()


async def _events(decoder: MultipartDecoder, body: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    async for piece in _pieces(body, len(decoder.boundary) + 16):
        for event in _decoded(decoder, piece):
            yield event
        await asyncio.sleep(0)  # a body that has come already is not read in one go
    for event in _decoded(decoder, None):
        yield event


async def _pieces(body: AsyncIterator[bytes], margin: int) -> AsyncIterator[bytes]:
    """The body in small pieces that do not end within a boundary: Werkzeug 3.1 takes a part's closing CR for data then.

    So a piece ends before the first line break of its last `margin` bytes, and the rest comes with the next one.
    """
    rest = b""
    async for data in body:
        for begin in range(0, len(data), _PIECE):
            piece = rest + data[begin : begin + _PIECE]
            tail = _LINE_BREAK.search(piece, max(0, len(piece) - margin))
            end = len(piece) if tail is None else tail.start()
            rest = piece[end:]
            yield piece[:end]
    yield rest


def _decoded(decoder: MultipartDecoder, data: bytes | None) -> Iterator[Event]:
    """What the decoder makes of more bytes; None is the end of the body."""
    try:
        decoder.receive_data(data)
        while not isinstance(event := decoder.next_event(), NeedData):
            yield event
            if isinstance(event, Epilogue):
                return
    except RequestEntityTooLarge:
        raise RequestError(413, f"multipart/form-data: at most {_MAX_PARTS} parts with short headers") from None
    except ValueError:
        raise _broken() from None


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def not_uploaded(name: str, why: str = "") -> RequestError:
    """The answer to a text where a file belongs."""
    reason = f"; {why}" if why else ""
    return RequestError(400, f"{name}: must be uploaded as a file, in multipart/form-data{reason}")


def _broken() -> RequestError:
    return RequestError(400, "multipart/form-data: the body is malformed or cut off")
