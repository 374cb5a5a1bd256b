"""Audio that comes as base64 text within JSON, on its way into a file."""

from __future__ import annotations

import base64
import binascii
import json

from frontend.uploads import Sink

_BLANKS = str.maketrans("", "", " \r\n\t")


class InlineFile:
    """Decodes piece by piece what it is given; text that is no base64 breaks it for good, which `finish` tells."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._raw = b""  # the beginning of an escape
        self._text = ""  # of four characters, those that are there
        self._begun = False
        self._broken = False

    async def write_raw(self, data: bytes) -> None:
        """More of a JSON string, as it stands between its quotes; an escape may go on in the next piece."""
        raw = self._raw + data
        cut = raw.rfind(b"\\", max(0, len(raw) - 6))
        if cut >= 0 and len(raw) < cut + (6 if raw[cut + 1 : cut + 2] == b"u" else 2):
            raw, self._raw = raw[:cut], raw[cut:]
        else:
            self._raw = b""
        try:
            text = json.loads(b'"' + raw + b'"')
        except ValueError:
            self._broken = True
        else:
            await self.write(text)

    async def write(self, text: str) -> None:
        """More of the base64 text; a data URL's head goes unread."""
        if self._broken:
            return
        if not self._begun:
            self._begun = True
            if text.startswith("data:"):
                text = text.partition(",")[2]
        self._text += text.translate(_BLANKS)
        whole = len(self._text) // 4 * 4
        text, self._text = self._text[:whole], self._text[whole:]
        try:
            await self._sink.write(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            self._broken = True

    async def finish(self) -> bool:
        """Write the rest; False if what came was no base64."""
        if self._text:
            await self.write("=" * (-len(self._text) % 4))
        await self._sink.close()
        return not (self._broken or self._raw or self._text)
