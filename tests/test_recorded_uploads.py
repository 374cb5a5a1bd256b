"""Uploads that phones and browsers make: decoded within the limits of all others; nothing else is opened."""

# mypy: allow-untyped-calls, allow-untyped-defs

import socket
from pathlib import Path
from typing import Any

import av
import lameenc
import numpy as np
import pytest

from frontend.audio import ffmpeg
from frontend.audio.decode import FORMATS, UnreadableAudio, decode, measure
from frontend.audio.sandbox import Sandbox

SECONDS = 2
CLICK = 1.0  # seconds
NOTHING = f"cannot be read; it must be {FORMATS}"


def click(rate, channels):
    """float32 [channels, n]: a quiet tone, a click in it; channel c has 1 / (c + 1) of it."""
    n = np.arange(SECONDS * rate)
    wave = 0.05 * np.sin(2 * np.pi * 440 * n / rate)
    wave[round(CLICK * rate)] = 0.9
    return np.stack([wave / (c + 1) for c in range(channels)]).astype(np.float32)


def record(path, container, codec, form="fltp", rate=48_000, layout="stereo", pictures=None, sound=True, options=None):
    """A file as a phone or browser makes it; `pictures` is the codec of a video track before the sound."""
    with av.open(str(path), "w", format=container, options=options or {}) as file:
        streams: list[Any] = []
        if pictures:
            video = file.add_stream(pictures, 25, width=64, height=64, pix_fmt="yuv420p")
            pixels = np.full((64, 64, 3), 128, np.uint8)
            grey = [av.VideoFrame.from_ndarray(pixels, "rgb24") for _ in range(SECONDS * 25)]
            for number, picture in enumerate(grey):
                picture.pts = number
            streams.append((video, grey))
        if sound:
            audio = file.add_stream(codec, rate)
            audio.codec_context.format, audio.codec_context.layout = form, layout
            audio.codec_context.bit_rate = 192_000
            wave = click(rate, audio.codec_context.layout.nb_channels)
            wave = np.rint(wave * 32767).astype(np.int16) if form.startswith("s16") else wave
            wave = wave if form.endswith("p") else wave.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), form, layout)
            frame.sample_rate, frame.pts = rate, 0
            streams.append((audio, [frame]))
        for stream, frames in streams:
            for frame in [*frames, None]:
                file.mux(stream.encode(frame))
    return path


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
# Arguments of `record`; samples at 48 kHz that are added before the first, which the container cannot say, and at most.
RECORDED = {
    "m4a": (("ipod", "aac"), 0, 1024), "m4a, 44.1 kHz": (("ipod", "aac", "fltp", 44_100), 0, 1115),
    "m4a, mono": (("ipod", "aac", "fltp", 48_000, "mono"), 0, 1024),
    "m4a, 5.1": (("ipod", "aac", "fltp", 48_000, "5.1"), 0, 1024),
    "m4a, alac": (("ipod", "alac", "s16p"), 0, 0), "mp4": (("mp4", "aac", "fltp", 48_000, "stereo", "mpeg4"), 0, 1024),
    "mov": (("mov", "pcm_s16le", "s16", 44_100, "stereo", "mpeg4"), 0, 0),
    "webm": (("webm", "libopus", "flt"), 0, 0),
    "webm with pictures": (("webm", "libopus", "flt", 48_000, "stereo", "libvpx"), 0, 0),
    "mkv": (("matroska", "flac", "s16"), 0, 0), "aac": (("adts", "aac"), 1024, 2048),
    "avi": (("avi", "libmp3lame", "fltp", 48_000, "stereo", "mpeg4"), 1105, 3456),
    "mp4 in fragments": (("mp4", "aac", "fltp", 48_000, "stereo", None, True, FRAGMENTS), 1024, 2048),
}


@pytest.mark.parametrize("name", RECORDED)
def test_the_sound_is_where_it_was_and_as_long(tmp_path, name):
    arguments, before, most = RECORDED[name]
    path = record(tmp_path / "x", *arguments)
    audio = np.concatenate(list(decode(path)))
    assert (str(audio.dtype), audio.shape[1], len(audio)) == ("float32", 2, measure(path))
    assert before <= len(audio) - SECONDS * 48_000 <= most
    at = np.abs(audio).argmax(axis=0)
    assert np.abs(at - 48_000 - before).max() <= 1
    levels = np.abs(audio[4_800:40_000]).max(axis=0)
    right = 0.05 if "mono" in name else 0.025
    assert levels == pytest.approx([0.05, right], rel=0.25)


def test_the_limited_child_reads_them_too(tmp_path):
    path = record(tmp_path / "x", "mp4", "aac", pictures="mpeg4")
    sandbox = Sandbox()
    samples = sandbox.measure(path)
    assert np.array_equal(sandbox.load(path, samples).T, np.concatenate(list(decode(path))))
    with pytest.raises(UnreadableAudio) as error:
        sandbox.measure(record(tmp_path / "y", "mp4", "aac", pictures="mpeg4", sound=False))
    assert str(error.value) == "holds no audio"
    sandbox.close()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(("make", "detail"), [
    (lambda path: record(path, "mp4", "aac", pictures="mpeg4", sound=False), "holds no audio"),
    (lambda path: cut(record(path, "ipod", "aac")), NOTHING),
    (lambda path: record(path, "asf", "wmav2"), NOTHING),
    (lambda path: record(path, "mpegts", "aac"), NOTHING),
    (lambda path: record(path, "matroska", "tta", "s16"), NOTHING),
])
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path, make, detail):
    make(tmp_path / "x")
    with pytest.raises(UnreadableAudio) as error:
        measure(tmp_path / "x")
    assert str(error.value) == detail


def lists(target):
    """Playlists and scripts that lead FFmpeg to `target`."""
    return {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile {target}\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
                'mimeType="audio/mp4"><Representation id="0" bandwidth="1">'
                f"<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    }


@pytest.mark.parametrize("kind", lists(""))
def test_a_list_of_other_files_opens_none(tmp_path, kind):
    secret = record(tmp_path / "secret.m4a", "ipod", "aac")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        for target in (secret, secret.name, f"http://127.0.0.1:{server.getsockname()[1]}/x.m4a"):
            (tmp_path / "x").write_text(lists(target)[kind])
            with pytest.raises(UnreadableAudio) as error:
                measure(tmp_path / "x")
            assert str(error.value) == NOTHING
        with pytest.raises(TimeoutError):
            server.accept()


def wrapped(data, name, inner):
    """`data` with `inner` as the content of its first atom `name`; the atoms around it grow along."""
    path = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
    begin, end = 0, len(data)
    sizes = []
    for atom in path[: path.index(name) + 1]:
        while data[begin + 4 : begin + 8] != atom:
            begin += int.from_bytes(data[begin : begin + 4], "big")
            assert begin < end, atom
        sizes.append(begin)
        end = begin + int.from_bytes(data[begin : begin + 4], "big")
        begin += 8
    grown = bytearray(data)
    for at in sizes:
        size = int.from_bytes(data[at : at + 4], "big") + len(inner) - (end - begin)
        grown[at : at + 4] = size.to_bytes(4, "big")
    grown[begin:end] = inner
    return bytes(grown)


def alias(target):
    """A QuickTime reference to another file: an alias record with its absolute path (type 2) and its name (type 18)."""
    text = str(target).encode()
    fields = b"".join(
        kind.to_bytes(2, "big") + len(text).to_bytes(2, "big") + text + b"\0" * (len(text) % 2) for kind in (2, 18))
    body = bytes(10) + b"\0" * 28 + bytes(12) + bytes(64) + bytes(16) + bytes(4) + bytes(16) + fields + b"\xff\xff\0\0"
    return bytes(4) + (1).to_bytes(4, "big") + (12 + len(body)).to_bytes(4, "big") + b"alis" + bytes(4) + body


def test_a_film_that_keeps_its_sound_elsewhere_opens_nothing(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(ffmpeg, "_open_nothing", lambda url, *_: opened.append(url))
    source = record(tmp_path / "secret.mov", "mov", "pcm_s16le", "s16").read_bytes()
    (tmp_path / "x").write_bytes(wrapped(source, b"dref", alias(tmp_path / "secret.mov")))
    with pytest.raises(UnreadableAudio):
        measure(tmp_path / "x")
    assert opened == []


def test_whatever_ffmpeg_asks_to_open_is_refused():
    with pytest.raises(PermissionError):
        ffmpeg._open_nothing(str(Path(__file__)), 1, {})


def mp3_that_says_no_length(path):
    """Twelve seconds at a variable rate, without the frame that says how long it is."""
    encoder = lameenc.Encoder()
    encoder.set_channels(1)
    encoder.set_in_sample_rate(48_000)
    encoder.set_vbr(4)
    encoder.set_vbr_quality(4)
    noise = np.random.default_rng(0).standard_normal(12 * 48_000) * 1_000
    path.write_bytes(bytes(encoder.encode(noise.astype("<i2").tobytes())) + bytes(encoder.flush()))
    return path


def test_an_mp3_that_says_no_length_is_heard_to_its_end(tmp_path):
    assert 0 <= measure(mp3_that_says_no_length(tmp_path / "radio")) - 12 * 48_000 <= 2 * 1152


def test_a_damaged_mp3_is_refused(tmp_path):
    path = mp3_that_says_no_length(tmp_path / "damaged")
    data = bytearray(path.read_bytes())
    data[len(data) // 3 :: 500] = bytes(len(data[len(data) // 3 :: 500]))
    path.write_bytes(data)
    with pytest.raises(UnreadableAudio, match=f"^{NOTHING}$"):
        measure(path)
