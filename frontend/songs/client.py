"""The Triton client: one gRPC stream per song."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from .errors import SongError, song_error
from .events import Done, SongEvent, parse

T = TypeVar("T")
Floats = npt.NDArray[np.float32]
AudioInputs = Mapping[str, Callable[[], Awaitable[Floats]]]
PIPELINE = "acestep"
_SILENCE_SECONDS = 3.0
_ANSWER_SECONDS = 5.0


class SongClient:
    """Speaks to the pipeline at `url` (host:port of Triton's gRPC service). Errors: SongError."""

    def __init__(self, url: str) -> None:
        # The client's own channel options lift gRPC's 4 MB message limit.
        self._client = InferenceServerClient(url)
        self._sending = asyncio.Semaphore(1)

    async def song(
        self, request: Mapping[str, Any], song_id: str = "", audio: AudioInputs | None = None
    ) -> AsyncGenerator[SongEvent, None]:
        """The events of one song, `Done` last. Closing the iterator cancels the song between two steps.

        `audio` loads the tensors that go with the request, by name. Ten minutes of it are copied several times on the
        way out, so songs with audio are sent one after the other.

        Triton does not end the streams of a pipeline process that died. So whenever a song has been silent for a while
        the pipeline is asked who it is: a pipeline that was started anew has lost the song.
        """
        instance = await self._instance()
        async with (
            aclosing(self._stream(request, song_id, audio or {})) as responses,
            aclosing(self._watched(responses, instance)) as watched,
        ):
            async for text, result in watched:
                event = parse(text, result.as_numpy("pcm"))
                if event is not None:
                    yield event
                if isinstance(event, Done):
                    return
        raise SongError(500, "the song pipeline ended the stream early")

    async def describe(self, timeout: float = _ANSWER_SECONDS) -> dict[str, Any]:
        """The pipeline's `describe` event."""
        return await self._ask("describe", timeout)

    async def models_missing(self, names: Iterable[str], timeout: float = _ANSWER_SECONDS) -> list[str]:
        """Those of `names` that Triton does not have ready."""
        wanted = list(names)
        try:
            async with asyncio.timeout(timeout):
                ready = await asyncio.gather(*(self._client.is_model_ready(name) for name in wanted))
        except (InferenceServerException, grpc.RpcError, TimeoutError):
            return wanted
        return [name for name, is_ready in zip(wanted, ready, strict=True) if not is_ready]

    async def close(self) -> None:
        await self._client.close()

    async def _watched(self, responses: AsyncGenerator[T, None], instance: object) -> AsyncGenerator[T, None]:
        """`responses`, with a look at the pipeline in every silence."""
        while True:
            upcoming = asyncio.ensure_future(anext(responses, None))
            try:
                while not (await asyncio.wait((upcoming,), timeout=_SILENCE_SECONDS))[0]:
                    await self._check(instance)
            except BaseException:
                upcoming.cancel()
                await asyncio.gather(upcoming, return_exceptions=True)
                raise
            response = upcoming.result()
            if response is None:
                return
            yield response

    async def _instance(self) -> object:
        """Which pipeline process answers now; a new one after every load."""
        return (await self._ask("ping", _ANSWER_SECONDS)).get("instance")

    async def _check(self, instance: object) -> None:
        """SongError when the process that makes a song is gone; a late answer alone proves nothing."""
        try:
            now = await self._instance()
        except SongError as error:
            if error.status == 504:
                return
            raise SongError(500, "the song pipeline broke off") from None
        if now != instance:
            raise SongError(500, "the song pipeline was started anew")

    async def _ask(self, kind: str, timeout: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(timeout), aclosing(self._stream({"v": 1, "kind": kind}, "", {})) as responses:
                async for text, _ in responses:
                    event = json.loads(text)
                    if event["type"] == "done":
                        return dict(event)
        except TimeoutError:
            raise SongError(504, "the song pipeline does not answer") from None
        raise SongError(503, "the song pipeline ended the stream early")

    async def _stream(
        self, request: Mapping[str, Any], song_id: str, audio: AudioInputs
    ) -> AsyncGenerator[tuple[bytes, InferResult], None]:
        """Event text and result of every response; the request side is closed at once, so the stream ends by itself."""
        begun = False
        async with AsyncExitStack() as unheard:
            inputs = [_text_input("request", json.dumps(request))]
            if audio:
                await unheard.enter_async_context(self._sending)
            for name, load in audio.items():
                inputs.append(await asyncio.to_thread(_audio_input, name, await load()))
            call = self._client.stream_infer(_once(inputs, song_id))
            del inputs  # the request is freed as soon as it is sent
            try:
                async for result, error in call:
                    await unheard.aclose()
                    if error is not None:
                        raise song_error(error.message(), begun=begun)
                    begun = True
                    yield result.as_numpy("event")[0], result
            except grpc.RpcError:
                status = 500 if begun else 503
                raise SongError(
                    status, "the connection to the song pipeline " + ("broke" if begun else "failed")) from None
            finally:
                call.cancel()


async def _once(inputs: list[InferInput], song_id: str) -> AsyncGenerator[dict[str, Any], None]:
    yield {"model_name": PIPELINE, "inputs": inputs, "request_id": song_id}


def _text_input(name: str, text: str) -> InferInput:
    tensor = InferInput(name, [1], "BYTES")
    return tensor.set_data_from_numpy(np.array([text.encode()], dtype=object))


def _audio_input(name: str, audio: Floats) -> InferInput:
    return InferInput(name, list(audio.shape), "FP32").set_data_from_numpy(audio)
