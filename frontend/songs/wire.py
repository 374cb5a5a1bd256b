"""Song requests as bytes on the wire: ten minutes of audio are put together once, and off the event loop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

Floats = npt.NDArray[np.float32]

PIPELINE = "acestep"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
# raw_input_contents, field 7 of ModelInferRequest, as length-delimited bytes.
_RAW_INPUT = bytes([7 << 3 | 2])
_UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def open_channel(url: str) -> grpc.aio.Channel:
    """A channel to Triton without gRPC's 4 MB limit of a message."""
    return grpc.aio.insecure_channel(url, options=_UNLIMITED)


def encode(request: Mapping[str, Any], song_id: str, audio: Mapping[str, Floats]) -> bytes:
    """A ModelInferRequest of the pipeline, serialised. Blocking.

    Protobuf's own serialisation would copy the audio three times under Python's lock. A message may be written in
    parts that follow each other (protobuf.dev, Encoding, "Last One Wins"), so the audio is appended by hand.
    """
    text = json.dumps(request).encode()
    head = service_pb2.ModelInferRequest(model_name=PIPELINE, id=song_id)
    head.inputs.add(name="request", datatype="BYTES", shape=[1])
    for name, samples in audio.items():
        head.inputs.add(name=name, datatype="FP32", shape=samples.shape)
    head.raw_input_contents.append(len(text).to_bytes(4, "little") + text)
    parts: list[bytes | memoryview] = [head.SerializeToString()]
    for samples in audio.values():
        data = np.ascontiguousarray(samples, "<f4").data.cast("B")
        parts += [_RAW_INPUT, _varint(data.nbytes), data]
    return b"".join(parts)


def _varint(value: int) -> bytes:
    """Seven bits to a byte, the lowest first; all but the last byte have the top bit."""
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)
