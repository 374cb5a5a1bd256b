"""ID3v2.4 tags in UTF-8, for streams that have no place for tags of their own."""

from __future__ import annotations

_UTF8 = b"\x03"


def id3(title: str, artist: str, comment: str, software: str) -> bytes:
    """The tag that an mp3 or ADTS file begins with (id3.org, ID3v2.4.0 sections 3.1, 4.2, 4.10)."""
    frames = b"".join((
        _frame(b"TIT2", _UTF8 + title.encode()),
        _frame(b"TPE1", _UTF8 + artist.encode()),
        _frame(b"TSSE", _UTF8 + software.encode()),
        _frame(b"COMM", _UTF8 + b"eng" + b"\x00" + comment.encode()),
    ))
    return b"ID3\x04\x00\x00" + _size(len(frames)) + frames


def _frame(name: bytes, body: bytes) -> bytes:
    return name + _size(len(body)) + b"\x00\x00" + body


def _size(count: int) -> bytes:
    """28 bits, seven to a byte, so that no byte looks like the start of an audio frame."""
    return bytes((count >> shift) & 0x7F for shift in (21, 14, 7, 0))
