"""What the header of a WAV file promises (Microsoft RIFF 1991; RF64: EBU Tech 3306)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_MOST_CHUNKS = 100
# Writers that cannot go back to the header leave a size near the largest that a signed number holds, or all ones.
_UNKNOWN_FROM = 0x7FFF0000
_IN_DS64 = 0xFFFFFFFF


@dataclass(frozen=True)
class Claim:
    """Bytes of samples by the header, bytes that follow it, bytes of one frame."""

    claimed: int
    present: int
    frame_bytes: int


def read_claim(path: Path) -> Claim | None:
    """The claim of a WAV file; None for other files and for those that leave their length open."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return None
        size64 = frame_bytes = 0
        for _ in range(_MOST_CHUNKS):
            header = file.read(8)
            if len(header) < 8:
                return None
            name, size = header[:4], int.from_bytes(header[4:], "little")
            if name == b"data":
                claimed = size64 if head[:4] == b"RF64" and size == _IN_DS64 else size
                is_open = claimed == 0 or (claimed == size and claimed >= _UNKNOWN_FROM)
                present = path.stat().st_size - file.tell()
                return None if is_open or not frame_bytes else Claim(claimed, present, frame_bytes)
            start = file.read(min(size, 24))
            if name == b"ds64" and len(start) >= 16:
                size64 = struct.unpack("<Q", start[8:16])[0]
            elif name == b"fmt " and len(start) >= 14:
                frame_bytes = struct.unpack("<H", start[12:14])[0]
            file.seek(size + size % 2 - len(start), 1)
    return None
