"""A pipeline on a real Triton that does what a request's caption tells it, and frontends that use it.

The caption's words, in order: `plan:<text>` (a piece of the LM's text, _ for a blank), `step:<phase>:<k>/<n>`,
`wait:<seconds>`, `gate:<name>` (until `open_gate(name)`), `fail:<status>`; `|` begins the next attempt's script. Other
words mean nothing. A song that gets through sends a tenth of a second of noise for each seed; before it, if it is asked
for codes, those it was given or two of its own for each seed. An analysis obeys the same words, and so does a text
(`/format_input`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frontend.jobs.job import Job
from frontend.services import Services
from frontend.settings import resolve

PIPELINE = '''
import asyncio, json, pathlib, time, uuid
import numpy as np
import triton_python_backend_utils as pb_utils

INSTANCE = uuid.uuid4().hex
HERE = pathlib.Path(__file__).parent
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
KEYS = ("caption", "lyrics", "vocal_language", "bpm", "key_scale", "time_signature", "duration")

class Cancelled(Exception):
    pass

class TritonPythonModel:
    async def execute(self, requests):
        await asyncio.gather(*(answer(request) for request in requests))

async def answer(request):
    body = json.loads(pb_utils.get_input_tensor_by_name(request, "request").as_numpy().reshape(-1)[0])
    sender, song_id = request.get_response_sender(), request.request_id()
    if body["kind"] == "ping":
        return say(sender, {"type": "done", "instance": INSTANCE}, flags=FINAL)
    if body["kind"] == "describe":
        return fail(sender, 503)
    try:
        make = {"format": write, "song": sing}.get(body["kind"], analyse)
        await make(sender, body, song_id)
    except Cancelled:
        (HERE / f"{song_id}.cancelled").touch()
        sender.send(flags=FINAL)

async def write(sender, body, song_id):
    say(sender, {"type": "planning", "text": "caption: "})
    if await play(sender, body, body["caption"]):
        metadata = {name: body[name] for name in KEYS} | {"caption": f"better {body['caption']}", "bpm": 101}
        say(sender, {"type": "done", "metadata": metadata, "lm": None, "notes": []}, flags=FINAL)

async def analyse(sender, body, song_id):
    if not await attempt(sender, body, song_id):
        return
    metadata = {}
    if body["kind"] != "codes":
        metadata = {name: body[name] for name in KEYS} | {"genres": "folk", "bpm": 88, "vocal_language": "de"}
        metadata["caption"] = f"heard {body['caption']}"
    if body["kind"] != "metadata":
        say(sender, {"type": "codes", "item": 0, "codes": [body["seeds"][0] % 64000, 7]})
        metadata |= {"duration": 2.5}
    say(sender, {"type": "done", "metadata": metadata, "lm": None, "notes": [], "seeds": body["seeds"],
                 "timings": {"plan": 0.2}, "model": None if body["kind"] == "metadata" else body["model"]}, flags=FINAL)

async def attempt(sender, body, song_id):
    log = HERE / f"{song_id}.attempts"
    attempt = len(log.read_text()) if log.exists() else 0
    log.write_text("x" * (attempt + 1))
    (HERE / f"{song_id}.request").write_text(json.dumps(body))
    scripts = body["caption"].split("|")
    return await play(sender, body, scripts[min(attempt, len(scripts) - 1)])

async def sing(sender, body, song_id):
    if not await attempt(sender, body, song_id):
        return
    if "codes" in body.get("return", ()):
        for item, codes in enumerate(body["codes"] or [[seed % 64000, 7] for seed in body["seeds"]]):
            say(sender, {"type": "codes", "item": item, "codes": codes})
    pcm = np.random.default_rng(body["seeds"][0]).uniform(-0.5, 0.5, (2, 4800)).astype(np.float32)
    for item in range(len(body["seeds"])):
        say(sender, {"type": "audio", "item": item, "offset": 0, "samples": 4800}, pcm)
    seconds = body["duration"] or 30.0
    say(sender, {
        "type": "done", "model": body["model"], "seeds": body["seeds"], "duration": seconds, "schedule": [1.0, 0.5],
        "timings": {"plan": 0.0, "codes": 0.0, "condition": 0.1, "denoise": 0.2, "decode": 0.3}, "notes": [],
        "metadata": {name: body[name] for name in KEYS} | {"duration": seconds}, "lm": None,
        "peaks": [0.5] * len(body["seeds"]),
    }, flags=FINAL)

async def play(sender, body, script):
    """Do what the words say; False when one of them has ended the answer."""
    for word in script.split():
        verb, _, rest = word.partition(":")
        if verb == "plan":
            say(sender, {"type": "planning", "text": rest.replace("_", " ")})
        elif verb == "step":
            phase, _, count = rest.partition(":")
            done, _, total = count.partition("/")
            say(sender, {"type": "progress", "phase": phase, "done": int(done), "total": int(total)})
        elif verb == "meta":
            say(sender, {"type": "metadata"} | {name: body[name] for name in KEYS})
        elif verb == "fail":
            fail(sender, int(rest))
            return False
        elif verb in ("wait", "gate"):
            end = time.monotonic() + (float(rest) if verb == "wait" else 60)
            while time.monotonic() < end and not (verb == "gate" and (HERE / f"{rest}.gate").exists()):
                if sender.is_cancelled():
                    raise Cancelled
                await asyncio.sleep(0.01)
    return True

def fail(sender, status):
    error = pb_utils.TritonError(f"[{status}] caption: told to fail", pb_utils.TritonError.INTERNAL)
    sender.send(pb_utils.InferenceResponse([], error=error), flags=FINAL)

def say(sender, event, pcm=None, flags=0):
    tensors = [pb_utils.Tensor("event", np.array([json.dumps(event).encode()], dtype=object))]
    if pcm is not None:
        tensors.append(pb_utils.Tensor("pcm", pcm))
    sender.send(pb_utils.InferenceResponse(tensors), flags=flags)
'''
CONFIG = """name: "acestep" backend: "python" max_batch_size: 0
model_transaction_policy { decoupled: true }
input [ { name: "request" data_type: TYPE_STRING dims: [ 1 ] },
        { name: "src_audio" data_type: TYPE_FP32 dims: [ 2, -1 ] optional: true },
        { name: "reference_audio" data_type: TYPE_FP32 dims: [ 2, -1 ] optional: true } ]
output [ { name: "event" data_type: TYPE_STRING dims: [ 1 ] }, { name: "pcm" data_type: TYPE_FP32 dims: [ 2, -1 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""


@dataclass(frozen=True)
class Scripted:
    """The server: `grpc` is its address, `folder` holds the pipeline's traces."""

    grpc: str
    folder: Path

    def open_gate(self, name: str) -> None:
        """Let every song pass that waits, or will wait, at this gate."""
        (self.folder / f"{name}.gate").touch()

    def attempts(self, job_id: str) -> int:
        """How often the pipeline has begun a job's song."""
        log = self.folder / f"{job_id}.attempts"
        return len(log.read_text()) if log.exists() else 0

    def request(self, job_id: str) -> dict[str, Any]:
        """What the pipeline was asked for a job."""
        return dict(json.loads((self.folder / f"{job_id}.request").read_text()))

    def was_cancelled(self, job_id: str) -> bool:
        """Whether the song ended because its caller left."""
        return (self.folder / f"{job_id}.cancelled").exists()

    @asynccontextmanager
    async def frontend(
        self, state: Path, workers: int = 2, lm: bool = False, **settings: str
    ) -> AsyncIterator[Services]:
        """Services that make their songs here; no worker runs with `workers=0`. With `lm` they know of an LM."""
        from tests.test_native_fields import BOTH, WITH_LM

        catalogue = WITH_LM if lm else BOTH
        flags: dict[str, str | None] = {"state": str(state), "triton_url": self.grpc, **settings}
        async with Services(resolve(flags, {}, {})) as services:
            services.catalogue = catalogue
            services.engines_seen = frozenset(catalogue.engines)
            if workers:
                services.workers.start(workers, catalogue)
            yield services


def make(folder: Path) -> Path:
    """The repository below `folder`."""
    model = folder / "repository" / "acestep"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(PIPELINE)
    (model / "config.pbtxt").write_text(CONFIG)
    return folder / "repository"


async def ended(services: Services, job_id: str, seconds: float = 30) -> Job:
    """The job when it is over."""
    async with asyncio.timeout(seconds):
        while (job := await services.store.get(job_id)) is not None and not job.state.is_final:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert job is not None
    return job
