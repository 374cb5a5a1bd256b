"""What puts samples into a file of each format: libsndfile (wav, flac), LAME (mp3), FFmpeg (opus, aac, wav32).

A writer takes blocks of float32 [n, 2] within ±1; leaving its context finishes the file. Equal samples and tags make
equal bytes. All three libraries let other threads run while they encode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import av
import lameenc
import numpy as np
import numpy.typing as npt
import soundfile
from av.audio.stream import AudioStream

from .id3 import id3
from .pcm import CHANNELS, SAMPLE_RATE
from .xing import SIZE, FrameIndex

Floats = npt.NDArray[np.float32]
_BUFFER = 1 << 18  # bytes that FFmpeg writes at a time
_EXACT = "+bitexact"  # otherwise FFmpeg draws the number of an Ogg stream at random

# LAME's V0 with its quickest search, and never below 192 kbit/s, where V0 alone saves bits on tones. Measured on music
# (make bench ARGS=--formats): less noise above the masking threshold than 192 kbit/s constant with LAME's usual search,
# in a fifth of the time. LAME of this wheel takes a third of the time of those in the wheels of PyAV and soundfile.
_VBR_MTRH, _VBR_QUALITY, _QUALITY, _LEAST_KBITS = 4, 0, 7, 192


@dataclass(frozen=True)
class Tags:
    """What the file says about itself."""

    title: str
    artist: str
    comment: str
    software: str = "acestep-triton"


class Writer(Protocol):
    def write(self, frames: Floats) -> None:
        """The next samples."""


def writer(audio_format: str, file: BinaryIO, tags: Tags) -> AbstractContextManager[Writer]:
    """What writes `audio_format` to an empty file that is open for writing and seeking."""
    if audio_format == "mp3":
        return _mp3(file, tags)
    if audio_format in _FFMPEG:
        return _ffmpeg(_FFMPEG[audio_format], file, tags)
    return _lossless(audio_format, file, tags)


class _Lossless:
    def __init__(self, sound: soundfile.SoundFile) -> None:
        self._sound = sound

    def write(self, frames: Floats) -> None:
        self._sound.write(_sixteen_bit(frames))


@contextmanager
def _lossless(audio_format: str, file: BinaryIO, tags: Tags) -> Iterator[Writer]:
    with soundfile.SoundFile(
        file, "w", SAMPLE_RATE, CHANNELS, format=audio_format.upper(), subtype="PCM_16"
    ) as sound:
        sound.title, sound.artist, sound.comment, sound.software = tags.title, tags.artist, tags.comment, tags.software
        yield _Lossless(sound)


def _sixteen_bit(frames: Floats) -> npt.NDArray[np.int16]:
    """Rounded here, because libsndfile rounds differently for wav and for flac."""
    rounded: npt.NDArray[np.float32] = np.clip(np.rint(frames * 32768), -32768, 32767)
    return rounded.astype(np.int16)


class _Mp3:
    """Frames of LAME behind room for the first one, which is written when all is known."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._begin = file.tell()
        self._samples = 0
        self._frames = FrameIndex()
        self._encoder = lameenc.Encoder()
        self._encoder.silence()
        self._encoder.set_channels(CHANNELS)
        self._encoder.set_in_sample_rate(SAMPLE_RATE)
        self._encoder.set_out_sample_rate(SAMPLE_RATE)
        self._encoder.set_vbr(_VBR_MTRH)
        self._encoder.set_vbr_quality(_VBR_QUALITY)
        self._encoder.set_vbr_min_bitrate_kbps(_LEAST_KBITS)
        self._encoder.set_quality(_QUALITY)
        file.write(bytes(SIZE))

    def write(self, frames: Floats) -> None:
        self._samples += len(frames)
        self._put(self._encoder.encode(_sixteen_bit(frames).tobytes()))

    def finish(self) -> None:
        self._put(self._encoder.flush())
        self._file.seek(self._begin)
        self._file.write(self._frames.header(self._samples, _VBR_QUALITY, _QUALITY, _LEAST_KBITS))

    def _put(self, data: bytearray) -> None:
        self._frames.add(bytes(data))
        self._file.write(data)


@contextmanager
def _mp3(file: BinaryIO, tags: Tags) -> Iterator[Writer]:
    file.write(id3(tags.title, tags.artist, tags.comment, tags.software))
    mp3 = _Mp3(file)
    yield mp3
    mp3.finish()


@dataclass(frozen=True)
class _Form:
    """FFmpeg's words for a format: container, codec, the samples that it takes, bits a second, further options."""

    container: str
    codec: str
    samples: str
    rate: int | None = None
    options: tuple[tuple[str, str], ...] = ()
    id3: bool = False


_FFMPEG = {
    # 160 kbit/s is where listeners stop telling Opus from the original; half of libopus' effort loses no quality that
    # the same bytes would not buy.
    "opus": _Form("opus", "libopus", "flt", 160_000, (("vbr", "on"), ("compression_level", "5"))),
    # The quicker search of FFmpeg's AAC, "fast", takes a third of the time, and a lone tone wavers by a quarter of its
    # level at any rate.
    "aac": _Form("adts", "aac", "fltp", 192_000, (("aac_coder", "twoloop"),), id3=True),
    "wav32": _Form("wav", "pcm_f32le", "flt"),
}


class _Ffmpeg:
    def __init__(self, container: av.container.OutputContainer, stream: AudioStream) -> None:
        self._container = container
        self._stream = stream
        self._planar = stream.codec_context.format.is_planar
        self._at = 0

    def write(self, frames: Floats) -> None:
        values = frames.T if self._planar else frames.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), self._stream.codec_context.format, "stereo")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._at
        self._at += len(frames)
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))


@contextmanager
def _ffmpeg(form: _Form, file: BinaryIO, tags: Tags) -> Iterator[Writer]:
    if form.id3:  # ADTS has no tags of its own; players look for this one as in an mp3 file
        file.write(id3(tags.title, tags.artist, tags.comment, tags.software))
    with av.open(
        file, "w", format=form.container, buffer_size=_BUFFER, container_options={"fflags": _EXACT}
    ) as container:
        stream = container.add_stream(form.codec, SAMPLE_RATE, options={"flags": _EXACT, **dict(form.options)})
        assert isinstance(stream, AudioStream)
        stream.codec_context.format = form.samples
        stream.codec_context.layout = "stereo"
        if form.rate is not None:
            stream.codec_context.bit_rate = form.rate
        if not form.id3:
            container.metadata.update(
                title=tags.title, artist=tags.artist, comment=tags.comment, encoder=tags.software)
        ffmpeg = _Ffmpeg(container, stream)
        yield ffmpeg
        ffmpeg.finish()
