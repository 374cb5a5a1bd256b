"""The first frame of an mp3 file: how long the music is, where its parts lie, and which samples the encoder has added.

Without it a player has to guess the length of a file of variable rate, and a song has 50 ms of silence around it.
Layout: ISO 11172-3 2.4.1 (frames), "VBR header" of Xing, "Mp3 Info Tag rev 1" of LAME.
"""

from __future__ import annotations

import struct

from .pcm import SAMPLE_RATE

SIZE = 192  # bytes: all of a 64 kbit/s frame at 48 kHz, which the header just fills
_HEADER = bytes((0xFF, 0xFB, 5 << 4 | 1 << 2, 1 << 6))  # MPEG-1 layer III without CRC, 64 kbit/s, 48 kHz, joint stereo
_SIDE_INFORMATION = bytes(32)
_HAS_ALL = 0x0F  # frames, bytes, table and quality follow
_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_FRAME_SAMPLES = 1152
_DELAY = 576  # samples that LAME puts before the first
_MUSIC = struct.Struct(">9sBB8xBB3sBBHIH")  # eight bytes of loudness are left open


class FrameIndex:
    """Where the frames of an mp3 stream begin that is handed over piece by piece."""

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._next = 0
        self._size = 0
        self._rest = b""

    def add(self, data: bytes) -> None:
        """The next bytes of the stream; ValueError where no frame begins that should."""
        data = self._rest + data
        start = self._size - len(self._rest)
        self._size = start + len(data)
        while (at := self._next - start) + 4 <= len(data):
            if data[at] != 0xFF or data[at + 1] & 0xFE != 0xFA or not (kbits := _KBITS[data[at + 2] >> 4]):
                raise ValueError(f"no frame of MPEG-1 layer III at byte {self._next}")
            self._begins.append(self._next)
            self._next += kbits * 144_000 // SAMPLE_RATE + (data[at + 2] >> 1 & 1)
        self._rest = data[max(0, at) :] if at < len(data) else b""

    def header(self, samples: int, vbr_quality: int, quality: int, least_kbits: int) -> bytes:
        """The frame that goes before the stream, which holds `samples` samples; the rest are LAME's settings."""
        size = SIZE + self._size
        added = len(self._begins) * _FRAME_SAMPLES - samples - _DELAY
        body = b"Xing" + struct.pack(">III", _HAS_ALL, len(self._begins), size) + self._table(size)
        body += struct.pack(">I", 100 - 10 * vbr_quality - quality)
        mode = 2 << 6 | 3 << 2  # source at 48 kHz, joint stereo
        music = _MUSIC.pack(
            b"LAME3.100", 4, 0, 0, least_kbits, (_DELAY << 12 | added).to_bytes(3, "big"), mode, 0, 0, size, 0)
        frame = _HEADER + _SIDE_INFORMATION + body + music
        return frame + struct.pack(">H", _crc(frame))

    def _table(self, size: int) -> bytes:
        """Where each hundredth of the music begins, in 256ths of the file."""
        begins = self._begins or [0]
        return bytes((SIZE + begins[i * len(begins) // 100]) * 256 // size for i in range(100))


def _crc(data: bytes) -> int:
    """CRC-16 with the polynomial 0x8005, lowest bit first, from 0."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value
