"""The formats that songs are written in, by the names that requests have for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """How a file of this format is named and served, and what is in it."""

    suffix: str
    content_type: str
    help: str


SONG_FORMATS = {
    "mp3": Format("mp3", "audio/mpeg", "LAME, variable rate V0, 192 kbit/s and more"),
    "wav": Format("wav", "audio/wav", "16 bit"),
    "flac": Format("flac", "audio/flac", "16 bit"),
    "opus": Format("opus", "audio/ogg", "Opus in Ogg, variable rate, about 160 kbit/s"),
    "aac": Format("aac", "audio/aac", "AAC-LC in ADTS, 192 kbit/s"),
    "wav32": Format("wav", "audio/wav", "32-bit float"),
}
DEFAULT_FORMAT = "mp3"
