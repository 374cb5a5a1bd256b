"""Tests' own client of the `acestep` model: one song over a gRPC stream, everything it said collected."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient


@dataclass
class Song:
    """What a song's events carried, in order; audio and latents by item."""

    events: list[dict[str, Any]] = field(default_factory=list)
    pcm: dict[int, list[np.ndarray]] = field(default_factory=dict)
    latents: dict[int, np.ndarray] = field(default_factory=dict)
    error: str | None = None

    @property
    def done(self) -> dict[str, Any]:
        assert self.error is None, self.error
        assert self.events[-1]["type"] == "done"
        return self.events[-1]

    def audio(self, item: int = 0) -> np.ndarray:
        """The item's audio [2, samples], its events checked to be contiguous."""
        offset = 0
        for event in (e for e in self.events if e["type"] == "audio" and e["item"] == item):
            assert event["offset"] == offset
            offset += event["samples"]
        audio = np.concatenate(self.pcm[item], axis=1)
        assert audio.shape == (2, offset)
        return audio


async def sing(grpc: str, /, **request: Any) -> Song:
    """Asks for one song and waits for its end."""
    song = Song()
    async with InferenceServerClient(grpc) as client:
        async for event, tensors in stream(client, request, song):
            song.events.append(event)
            if "pcm" in tensors:
                song.pcm.setdefault(event["item"], []).append(tensors["pcm"])
            if "latents" in tensors:
                song.latents[event["item"]] = tensors["latents"]
    return song


async def stream(
    client: InferenceServerClient, request: dict[str, Any], song: Song | None = None
) -> AsyncGenerator[tuple[dict[str, Any], dict[str, np.ndarray]], None]:
    """The events of one request with their tensors; ends after the error or the last event.

    Arrays among the request's fields (src_audio, reference_audio) go as tensors of their own.
    """
    audio = {name: value for name, value in request.items() if isinstance(value, np.ndarray)}
    fields = {name: value for name, value in request.items() if name not in audio}
    tensors = [InferInput("request", [1], "BYTES")]
    tensors[0].set_data_from_numpy(np.array([json.dumps({"kind": "song"} | fields).encode()], np.object_))
    for name, value in audio.items():
        tensors.append(InferInput(name, list(value.shape), "FP32"))
        tensors[-1].set_data_from_numpy(value)

    async def inputs() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "acestep", "inputs": tensors}

    responses = client.stream_infer(inputs())
    async for result, error in responses:
        if error is not None:
            if song is not None:
                song.error = error.message()
                return
            raise error
        arrays = {o.name: result.as_numpy(o.name) for o in result.get_response().outputs if o.name != "event"}
        event = json.loads(result.as_numpy("event")[0])
        yield event, arrays
        if event["type"] == "done":
            return


def sing_all(grpc: str, *requests: dict[str, Any]) -> list[Song]:
    """Several songs at once, for tests that are not coroutines themselves."""

    async def together() -> list[Song]:
        return await asyncio.gather(*(sing(grpc, **request) for request in requests))

    return asyncio.run(together())
