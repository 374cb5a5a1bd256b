"""Triton's shell around the song pipeline: tensors in, events out."""

import asyncio
import json
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import triton_python_backend_utils as pb_utils

from contract.stub import corruption
from pipeline import facts
from pipeline.bls import TritonMeter, TritonModels
from pipeline.denoiser import Denoiser
from pipeline.errors import CANCELLED, FAULT, SongError, invalid
from pipeline.events import Answer, Audio, Done, Event, Latents, Planning, Progress, to_json
from pipeline.length import SAMPLE_RATE
from pipeline.line import Attendance, Line, let_end
from pipeline.lm.compose import LmService
from pipeline.lm.engine import MODELS
from pipeline.lm.streams import ADDRESS, Server, TritonEngine
from pipeline.material import Uploads
from pipeline.metrics import AUDIO_SECONDS, SONGS, SONGS_IN_FLIGHT, watch_loop_lag
from pipeline.models import Floats
from pipeline.plan import Heard
from pipeline.request import SongRequest, parse_json, read_song
from pipeline.song import Caller, Studio, check, prepare, sing
from pipeline.text import write_text
from pipeline.tokens import PromptTokenizer

SONG_KINDS = ("song", "codes", "understand", "metadata", "sample", "format")
KINDS = (*SONG_KINDS, "describe", "ping")
UPLOADS = ("src_audio", "reference_audio")
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """The `acestep` model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the facts of the served models. Errors: RuntimeError when the stub corrupts tensors with this numpy."""
        if problem := corruption(pb_utils):
            raise RuntimeError(problem)
        parameters = json.loads(args["model_config"])["parameters"]
        self._songs_in_flight = int(parameters["songs_in_flight"]["string_value"])
        budget = int(parameters["dit_token_budget"]["string_value"])
        here = Path(__file__).parent
        served = facts.load(here / "models")
        self._meter = TritonMeter()
        models, server = TritonModels(self._meter), Server(ADDRESS)
        self._studio = Studio(
            models=models,
            served=served,
            tokenizer=PromptTokenizer(here / "tokenizer" / "tokenizer.json"),
            denoisers={
                name: Denoiser(lambda call, name=name: models.velocity(name, call), budget)  # type: ignore[misc]
                for name in served.dits
            },
            lm=LmService(served.lm, {
                engine: TritonEngine(model, server, self._meter) for engine, model in MODELS.items()}),
        )
        # Songs beyond this many wait here in the order they came, so that memory is bounded whoever calls.
        self._places = asyncio.Semaphore(self._songs_in_flight)
        # One thread, which keeps that order; requests of 24,000 codes take milliseconds to read.
        self._reader = ThreadPoolExecutor(1, "reader")
        self._attendance = Attendance()
        self._instance = uuid.uuid4().hex
        self._lag: asyncio.Task[None] | None = None

    async def execute(self, requests: list[Any]) -> None:
        """Serves each request on the stub's event loop; returns when all of them are through."""
        if self._lag is None:
            self._lag = asyncio.create_task(watch_loop_lag(self._meter))
        await asyncio.gather(*(self._serve(request) for request in requests))

    def finalize(self) -> None:
        """Ends the reader."""
        self._reader.shutdown(cancel_futures=True)

    async def _serve(self, request: Any) -> None:
        line = Line(request.get_response_sender())
        try:
            asked = await asyncio.get_running_loop().run_in_executor(self._reader, self._read, request)
            match asked:
                case SongRequest():
                    await self._attendance.during(self._make(request, asked, line), line.has_left)
                case "describe":
                    _send(line, Answer(self._describe()))
                case _:
                    # Triton never ends the streams of a process that died: a new identity tells its callers.
                    _send(line, Answer({"instance": self._instance}))
        except SongError as error:
            _send_error(line, error)
        except Exception as error:
            # The log gets the trace; the caller one line without the server's paths.
            pb_utils.Logger.log_error(f"song failed: {error!r}")
            _send_error(line, SongError(FAULT, f"internal error ({type(error).__name__})"))

    def _read(self, request: Any) -> SongRequest | str:
        """What is asked for: a song, or one of the other kinds. Refuses all that can be refused without the audio."""
        body = parse_json(pb_utils.get_input_tensor_by_name(request, "request").as_numpy().reshape(-1)[0])
        kind = body.get("kind", "song")
        if kind not in KINDS:
            raise invalid("kind", f"must be one of {', '.join(KINDS)}, not {json.dumps(kind)}")
        if kind not in SONG_KINDS:
            return str(kind)
        wish = read_song({"kind": "song", **body})
        source, reference = (pb_utils.get_input_tensor_by_name(request, name) for name in UPLOADS)
        check(wish, self._studio, Heard(
            source=None if source is None else int(source.shape()[1]), has_reference=reference is not None))
        return wish

    async def _make(self, request: Any, wish: SongRequest, line: Line) -> None:
        async def send(event: Event) -> None:
            if isinstance(event, Audio | Latents):
                # Copies megabytes: not on the loop that all songs share.
                await let_end(asyncio.to_thread(_send, line, event))
            else:
                _send(line, event)
            if isinstance(event, Audio):
                self._meter.add(AUDIO_SECONDS, event.pcm.shape[1] / SAMPLE_RATE)

        def report(event: Progress | Planning) -> None:
            _send(line, event)

        caller = Caller(send, report, line.has_left)
        outcome = str(CANCELLED)
        async with self._places:
            self._meter.add(SONGS_IN_FLIGHT, 1)
            try:
                caller.check()
                held = await asyncio.to_thread(_uploads, request)
                await self._perform(wish, held[0], caller)
                # By a thread, because to give hundreds of megabytes back to the system takes tens of milliseconds.
                await asyncio.to_thread(held.clear)
                outcome = "done"
            except Exception as error:
                outcome = str(error.status if isinstance(error, SongError) else FAULT)
                raise
            finally:
                self._meter.add(SONGS_IN_FLIGHT, -1)
                self._meter.add(SONGS, 1, outcome=outcome)

    async def _perform(self, wish: SongRequest, uploads: Uploads, caller: Caller) -> None:
        plan = await prepare(wish, self._studio, uploads)
        if wish.kind == "song":
            await sing(plan, wish, self._studio, caller, uploads)
        else:
            await caller.send(await write_text(wish, self._studio, caller, uploads))

    def _describe(self) -> dict[str, Any]:
        served = self._studio.served
        return {
            "default": served.default,
            "embedded": served.embedded,
            "models": [dict(dit.facts) for dit in served.dits.values()],
            "capacity": self._songs_in_flight,
            "lm": None if served.lm is None else {"name": served.lm.name, "duration_max": served.lm.duration_max},
            "sample_rate": SAMPLE_RATE,
        }


def _uploads(request: Any) -> list[Uploads]:
    """The request's audio, in a list so that who has it can let go of it anywhere."""
    return [Uploads(*(_audio(request, name) for name in UPLOADS))]


def _audio(request: Any, name: str) -> Floats | None:
    """An optional audio input, checked; the array is a copy, because the request's memory is Triton's."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return None
    audio: Floats = tensor.as_numpy().copy()
    if not np.isfinite(audio).all():
        raise invalid(name, "must hold numbers only")
    return audio


def _send(line: Line, event: Event) -> None:
    tensors = [pb_utils.Tensor("event", np.array([to_json(event)], np.object_))]
    if isinstance(event, Audio):
        tensors.append(pb_utils.Tensor("pcm", event.pcm))
    if isinstance(event, Latents):
        tensors.append(pb_utils.Tensor("latents", np.ascontiguousarray(event.latents)))
    # The last event carries the final flag itself: streaming clients do not get an empty final response.
    flags = FINAL if isinstance(event, Done | Answer) else 0
    line.send(pb_utils.InferenceResponse(output_tensors=tensors), flags)


def _send_error(line: Line, error: SongError) -> None:
    code = {400: pb_utils.TritonError.INVALID_ARG, 499: pb_utils.TritonError.CANCELLED,
            503: pb_utils.TritonError.UNAVAILABLE}.get(error.status, pb_utils.TritonError.INTERNAL)
    failure = pb_utils.TritonError(error.line(), code)
    line.send(pb_utils.InferenceResponse(output_tensors=[], error=failure), FINAL)
