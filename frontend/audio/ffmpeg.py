"""What phones and browsers record, and mp3, read by FFmpeg: the first sound of m4a, aac, webm and video files.

A file is read as bytes and nothing else is opened for it, whatever it refers to: formats that are lists of other files
are not known here, and neither are video codecs. The container's own word on encoder delay and edit lists is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from .decode import UNREADABLE, Sound, UnreadableAudio

Floats = npt.NDArray[np.float32]

# FFmpeg's names of containers (one is called by six of them) and of decoders.
_CONTAINERS = ("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "aac", "amr", "avi", "mp3")
_DECODERS = (
    "aac", "alac", "ac3", "eac3", "amrnb", "amrwb", "flac", "mp2", "mp3", "mp3float", "opus", "libopus", "vorbis",
    "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le", "pcm_s32be", "pcm_s32le", "pcm_f32be", "pcm_f32le", "pcm_u8",
    "pcm_alaw", "pcm_mulaw",
)
_ONLY = {
    "format_whitelist": ",".join(_CONTAINERS), "codec_whitelist": ",".join(_DECODERS), "protocol_whitelist": "none"}


@contextmanager
def open_sound(path: Path) -> Iterator[Sound]:
    """The first audio stream of a file. Errors: UnreadableAudio, here and where its blocks are read."""
    try:
        with path.open("rb") as file, av.open(file, "r", container_options=_ONLY, io_open=_open_nothing) as container:
            yield _sound(container)
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, UnreadableAudio):
            raise
        raise UnreadableAudio(UNREADABLE) from None


def _open_nothing(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PermissionError("a file may not refer to others")


def _sound(container: av.container.InputContainer) -> Sound:
    if not container.streams.audio:
        raise UnreadableAudio("holds no audio")
    stream = container.streams.audio[0]
    if stream.codec_context.codec.name not in _DECODERS:
        raise UnreadableAudio(UNREADABLE)
    seconds = None if stream.duration is None or stream.time_base is None else float(stream.duration * stream.time_base)
    if container.format.name == "mp3":
        seconds = None  # a guess where the file does not say it
    frames = container.decode(stream)
    # The header may not know the rate: HE-AAC doubles what it says there.
    first = next(frames, None)
    if first is None:
        raise UnreadableAudio("holds no audio")
    return Sound(first.sample_rate, seconds, _blocks(first, frames))


def _blocks(first: av.AudioFrame, frames: Iterator[av.AudioFrame]) -> Iterator[Floats]:
    """Blocks [n, channels]."""
    yield _floats(first)
    for frame in frames:
        if frame.sample_rate != first.sample_rate:
            raise UnreadableAudio("changes its sample rate midway")
        yield _floats(frame)


def _floats(frame: av.AudioFrame) -> Floats:
    """A frame as float32 [n, channels], integers over their full scale."""
    values: npt.NDArray[Any] = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    samples: Floats = values.astype(np.float32)
    if values.dtype.kind == "u":  # of 8 bits alone
        return (samples - np.float32(128)) / np.float32(128)
    if values.dtype.kind == "i":
        return samples / np.float32(2 ** (8 * values.dtype.itemsize - 1))
    return samples
