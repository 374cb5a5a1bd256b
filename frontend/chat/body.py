"""Bodies of chat requests: JSON whose long texts go to disk as they arrive, because they are audio."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frontend.errors import RequestError
from frontend.native.body import json_object
from frontend.uploads import Intake

from .inline import InlineFile

# Every text that a field may hold is shorter, even with all its characters escaped.
_LONG = 1 << 17
_MAX_LONG = 32  # of the conversation's history, too
_TURNS = 2000  # a few milliseconds' work
# The rest of a string: up to its quote, or to a backslash that the data ends with.
_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_TASK_ROUTES = ("src_audio", "reference_audio")
_SONG_ROUTES = ("reference_audio",)


@dataclass(frozen=True)
class Body:
    """A body's `values`; a long text is an object with one key there, by which `long` tells whether it was base64."""

    values: dict[str, Any]
    long: Mapping[str, bool]


async def read_body(data: AsyncIterator[bytes], text_limit: int, intake: Intake) -> Body:
    """The object that the body holds; files go to `intake`. Errors: RequestError 400, 413."""
    splitter = _Splitter(text_limit, intake)
    async for piece in data:
        await splitter.feed(piece)
    return Body(json_object(bytes(splitter.text), "JSON payload must be an object"), splitter.long)


async def name_audio(audio: Sequence[object], task: str, body: Body, intake: Intake) -> None:
    """Make uploads of the `data` of input_audio parts: of a song from nothing the reference, else source and reference.

    Files of the intake that no part names are deleted. Errors: RequestError 400.
    """
    routes = _SONG_ROUTES if task == "text2music" else _TASK_ROUTES
    if len(audio) > len(routes):
        raise RequestError(400, f"messages: at most {len(routes)} input_audio for {task}")
    wanted = {}
    for field, data in zip(routes, audio, strict=False):
        key = next(iter(data), "") if isinstance(data, dict) else ""
        is_base64 = body.long.get(key, False)
        if isinstance(data, str):
            key = uuid.uuid4().hex
            file = InlineFile(intake.receive(key))
            await file.write(data)
            is_base64 = await file.finish()
        if not is_base64:
            raise RequestError(400, "messages: input_audio.data must be base64 text")
        wanted[field] = key
    await intake.settle(wanted)


class _Splitter:
    """Copies JSON to `text`, but long strings to files; in place of one stands {"<its key>": null}."""

    def __init__(self, limit: int, intake: Intake) -> None:
        self.text = bytearray()
        self.long: dict[str, bool] = {}
        self._limit = limit
        self._intake = intake
        self._string_at: int | None = None  # where the string begins that is being read
        self._is_escaped = False
        self._file: InlineFile | None = None
        self._key = ""

    async def feed(self, data: bytes) -> None:
        at = turns = 0
        while at < len(data):
            turns += 1
            if turns % _TURNS == 0:  # a body may be all short strings
                await asyncio.sleep(0)
            if self._string_at is None:
                quote = data.find(b'"', at)
                end = len(data) if quote < 0 else quote + 1
                self.text += data[at:end]
                if quote >= 0:
                    self._string_at = len(self.text) - 1
            else:
                found = _STRING.match(data, at + self._is_escaped)
                end = found.end() if found else len(data)
                self._is_escaped = data[end : end + 1] == b"\\"
                is_closed = data[end : end + 1] == b'"'
                await self._continue(data[at : end + self._is_escaped])
                if is_closed:
                    await self._close()
                end += self._is_escaped or is_closed
            at = end
            if len(self.text) > self._limit:
                raise RequestError(413, f"Request body too large: at most {self._limit} bytes besides its audio")

    async def _continue(self, piece: bytes) -> None:
        assert self._string_at is not None
        if self._file is None:
            self.text += piece
            if len(self.text) - self._string_at <= _LONG:
                return
            if len(self.long) == _MAX_LONG:
                raise RequestError(413, f"Request body too large: at most {_MAX_LONG} texts with audio")
            piece = bytes(self.text[self._string_at + 1 :])
            del self.text[self._string_at :]
            self._key = uuid.uuid4().hex
            self._file = InlineFile(self._intake.receive(self._key))
        await self._file.write_raw(piece)

    async def _close(self) -> None:
        if self._file is None:
            self.text += b'"'
        else:
            self.long[self._key] = await self._file.finish()
            self.text += b'{"%s": null}' % self._key.encode()
        self._string_at, self._file = None, None
