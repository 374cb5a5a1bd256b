"""The Triton client: one gRPC stream per song."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

import grpc
from tritonclient.grpc import InferResult, service_pb2, service_pb2_grpc

from frontend.audio.sandbox import AT_A_TIME
from frontend.silence import with_silences

from .errors import SongError, song_error
from .events import Done, Findings, SongEvent, parse
from .wire import STREAM, Floats, encode, open_channel

T = TypeVar("T")
AudioInputs = Mapping[str, Callable[[], Awaitable[Floats]]]
_SILENCE_SECONDS = 3.0
_ANSWER_SECONDS = 5.0
_HELD = 1 + AT_A_TIME  # songs whose audio is in memory: one is sent, as many are decoded as can be side by side


class SongClient:
    """Speaks to the pipeline at `url` (host:port of Triton's gRPC service). Errors: SongError."""

    def __init__(self, url: str) -> None:
        self._channel = open_channel(url)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        # Takes requests that are bytes already.
        self._infer = self._channel.stream_stream(
            STREAM, response_deserializer=service_pb2.ModelStreamInferResponse.FromString)
        self._held = asyncio.Semaphore(_HELD)
        self._sending = asyncio.Semaphore(1)

    async def song(
        self, request: Mapping[str, Any], song_id: str = "", audio: AudioInputs | None = None
    ) -> AsyncGenerator[SongEvent, None]:
        """The events of one song, `Done` last, or `Findings` where none is made.

        Closing the iterator cancels the song between two steps.

        `audio` loads the tensors that go with the request, by name. Ten minutes are 230 MB, and twice that on the way
        out, so songs with audio are sent one after the other, and few are loaded before their turn.

        Triton does not end the streams of a pipeline process that died. So whenever a song has been silent for a while
        the pipeline is asked who it is: a pipeline that was started anew has lost the song.
        """
        instance = await self._instance()
        responses = self._stream(request, song_id, audio or {})
        async with aclosing(self._watched(responses, instance)) as watched:
            async for text, result in watched:
                event = parse(text, result.as_numpy("pcm"))
                if event is not None:
                    yield event
                if isinstance(event, Done | Findings):
                    return
        raise SongError(500, "the song pipeline ended the stream early")

    async def write(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The metadata that the LM writes for a request that is no song; cancelling gives it up."""
        instance = await self._instance()
        async with aclosing(self._watched(self._stream(request, "", {}), instance)) as watched:
            async for text, _ in watched:
                event = json.loads(text)
                if event["type"] == "done":
                    return dict(event["metadata"])
        raise SongError(500, "the song pipeline ended the stream early")

    async def describe(self, timeout: float = _ANSWER_SECONDS) -> dict[str, Any]:
        """The pipeline's `describe` event."""
        return await self._ask("describe", timeout)

    async def models_missing(self, names: Iterable[str], timeout: float = _ANSWER_SECONDS) -> list[str]:
        """Those of `names` that Triton does not have ready."""
        wanted = list(names)
        try:
            async with asyncio.timeout(timeout):
                ready = await asyncio.gather(
                    *(self._stub.ModelReady(service_pb2.ModelReadyRequest(name=name)) for name in wanted))
        except (grpc.RpcError, TimeoutError):
            _obey_cancellation()
            return wanted
        return [name for name, answer in zip(wanted, ready, strict=True) if not answer.ready]

    async def close(self) -> None:
        await self._channel.close()

    async def _watched(self, responses: AsyncGenerator[T, None], instance: object) -> AsyncGenerator[T, None]:
        """`responses`, with a look at the pipeline in every silence; closes them at the end."""
        async with aclosing(with_silences(responses, _SILENCE_SECONDS)) as heard:
            async for response in heard:
                if response is None:
                    await self._check(instance)
                else:
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
        """Event text and result of every response; the request side is closed at once, so the stream ends by itself.

        It is read to that end before the last response is passed on: of a stream that is cancelled while it ends Triton
        2.51 never frees what belongs to it, 2 KB and the responses that were on their way.
        """
        begun = False
        async with AsyncExitStack() as unheard:
            if audio:
                await unheard.enter_async_context(self._held)
            tensors = {name: await load() for name, load in audio.items()}
            if audio:
                await unheard.enter_async_context(self._sending)
            message = await asyncio.to_thread(encode, request, song_id, tensors)
            call = self._infer(_once(message))
            del tensors, message  # what goes out is freed as soon as it is sent
            try:
                async for response in call:
                    await unheard.aclose()
                    if response.error_message or _is_final(response):
                        await _read_out(call)
                    if response.error_message:
                        raise song_error(response.error_message, begun=begun)
                    begun = True
                    result = InferResult(response.infer_response)
                    yield result.as_numpy("event")[0], result
            except grpc.RpcError:
                _obey_cancellation()
                status = 500 if begun else 503
                raise SongError(
                    status, "the connection to the song pipeline " + ("broke" if begun else "failed")) from None
            finally:
                call.cancel()


def _is_final(response: service_pb2.ModelStreamInferResponse) -> bool:
    """Whether Triton says that no other response of this request follows."""
    return bool(response.infer_response.parameters["triton_final_response"].bool_param)


async def _read_out(call: AsyncIterable[object]) -> None:
    """Until the stream has ended by itself, a matter of milliseconds; the last response is not lost with it."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            async for _ in call:
                pass
    except TimeoutError:
        pass
    except grpc.RpcError:
        _obey_cancellation()


def _obey_cancellation() -> None:
    """Raise the cancellation of this task that gRPC has answered with an error of the call."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _once(message: bytes) -> AsyncGenerator[bytes, None]:
    yield message
