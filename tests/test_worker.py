"""Workers against a pipeline that misbehaves as told: real Triton, client and store, scripted faults, uploads."""

# mypy: allow-untyped-calls

import asyncio
import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from frontend.catalogue import SHARED_TRITON_MODELS
from frontend.jobs.job import State, Work
from frontend.jobs.sqlite import SqliteJobStore
from frontend.live import Live
from frontend.native.record import record
from frontend.services import Services
from frontend.settings import resolve
from frontend.songs.client import SongClient
from frontend.songs.errors import song_error
from frontend.uploads import Uploads
from frontend.worker import Folders, Workers
from tests.support.waiting import until

# The caption is a script, one word per attempt: an error status, "die" (the process), "cut" (no result), "hang", "ok",
# "echo" (sends what was uploaded, source and reference as two items, at their level), "lm" (the LM has a part in it).
# What attempt it is, is remembered on disk, because the process may not live to see the next.
PIPELINE = '''
import asyncio, json, os, pathlib, uuid
import numpy as np
import triton_python_backend_utils as pb_utils

INSTANCE = uuid.uuid4().hex
HERE = pathlib.Path(__file__).parent
LM = {"name": "an-lm", "engine": "pt", "wrote": ["bpm", "caption"], "prompt_tokens": 11, "completion_tokens": 22}
DESCRIBED = {"models": [], "default": "m", "capacity": 1, "embedded": False,
             "lm": {"name": "an-lm", "duration_max": 60}}
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL

class TritonPythonModel:
    async def execute(self, requests):
        for request in requests:
            body = json.loads(pb_utils.get_input_tensor_by_name(request, "request").as_numpy().reshape(-1)[0])
            sender = request.get_response_sender()
            if body["kind"] in ("ping", "describe"):
                say(sender, {"type": "done", "instance": INSTANCE, **DESCRIBED}, flags=FINAL)
            else:
                uploads = [pb_utils.get_input_tensor_by_name(request, f"{n}_audio") for n in ("src", "reference")]
                await sing(sender, body, [tensor.as_numpy() for tensor in uploads if tensor is not None])

async def sing(sender, body, uploads):
    log = HERE / (body["lyrics"] + ".attempts")
    words = body["caption"].split()
    attempt = len(log.read_text()) if log.exists() else 0
    log.write_text("x" * (attempt + 1))
    word = words[min(attempt, len(words) - 1)]
    if word == "lm":
        say(sender, {"type": "progress", "phase": "plan", "done": 0, "total": 1})
        say(sender, {"type": "planning", "text": "<think>"})
    say(sender, {"type": "metadata"})
    if word == "die":
        os._exit(1)
    if word == "hang":
        while not sender.is_cancelled():
            await asyncio.sleep(0.01)
        (HERE / (body["lyrics"] + ".cancelled")).write_text("")
    if word.isdigit():
        error = pb_utils.TritonError(f"[{word}] caption: no", pb_utils.TritonError.INTERNAL)
        return sender.send(pb_utils.InferenceResponse([], error=error), flags=FINAL)
    pcm = uploads if word == "echo" else [np.full((2, 1000), 0.25, np.float32)]
    for item, samples in enumerate(pcm):
        offset = 7 if word == "gap" else 0
        say(sender, {"type": "audio", "item": item, "offset": offset, "samples": samples.shape[1]}, samples)
    if word == "cut":
        return sender.send(flags=FINAL)
    say(sender, {"type": "done", "model": "m", "seeds": body["seeds"], "duration": 1000 / 48000, "steps": 8,
                 "schedule": [1.0], "notes": ["a note"], "keeps_level": word == "echo",
                 "timings": {"plan": 1.25, "codes": 2.0, "condition": 0.1, "denoise": 0.2, "decode": 0.3},
                 "metadata": {"caption": "by the LM", "bpm": 90, "genres": "pop", "vocal_language": "zh"},
                 "lm": LM if word == "lm" else None,
                 "peaks": [float(np.abs(samples).max()) for samples in pcm]}, flags=FINAL)

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


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """(gRPC address, folder of the faulty pipeline's traces)."""
    from tests.conftest import start

    folder = tmp_path_factory.mktemp("faulty")
    model = folder / "repository" / "acestep"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(PIPELINE)
    (model / "config.pbtxt").write_text(CONFIG)
    running = start(folder / "stack", folder / "repository", frontend=False)
    yield running.triton_grpc, next((folder / "repository").rglob("model.py")).parent
    running.stop()


class Frontend:
    """A store and workers on a state folder."""

    def __init__(self, state, url, workers=2):
        self.state = state
        self.url = url
        self.count = workers

    async def __aenter__(self):
        folders = Folders(self.state / "spool", self.state / "audio")
        for folder in (folders.spool, folders.audio):
            folder.mkdir(parents=True, exist_ok=True)
        self.uploads = Uploads(self.state / "uploads")
        self.uploads.open()
        self.store = await SqliteJobStore.open(self.state / "jobs.sqlite")
        self.songs = SongClient(self.url)
        self.live = Live()
        self.workers = Workers(self.store, self.songs, self.uploads, folders, self.live, lease_seconds=10)
        self.workers.start(self.count)
        return self

    async def __aexit__(self, *_):
        await self.workers.stop()
        self.uploads.close()
        await self.store.close()
        await self.songs.close()

    async def submit(self, script, name, **uploads):
        song = {"kind": "song", "caption": script, "lyrics": name, "seeds": [5 + i for i in range(len(uploads) or 1)]}
        async with self.uploads.intake() as intake:
            for field, data in uploads.items():
                sink = intake.receive(field)
                await sink.write(data)
                await sink.close()
            files = await intake.measure()
            await intake.save(files.values())
            job = await self.store.submit(Work(song, "wav", (), files), 10)
        self.workers.wake()
        return job.id

    async def record(self, job_id):
        job = await self.store.get(job_id)
        assert job is not None
        return job

    async def until(self, job_id, *states, seconds=60):
        async with asyncio.timeout(seconds):
            while True:
                job = await self.record(job_id)
                if job.state in states:
                    return job
                await asyncio.sleep(0.02)

    async def ended(self, job_id):
        return await self.until(job_id, State.SUCCEEDED, State.FAILED)


@pytest.fixture
async def frontend(tmp_path, faulty):
    async with Frontend(tmp_path, faulty[0]) as running:
        yield running
    assert list((tmp_path / "spool").iterdir()) == [], "no samples are left behind"


ENDS = {  # script: state, attempts, error, code
    "500": (State.FAILED, 3, "caption: no", "generation_failed"),  # in its back-off it holds up nobody
    "ok": (State.SUCCEEDED, 1, None, None),
    "400": (State.FAILED, 1, "caption: no", "invalid_request"),
    "499": (State.FAILED, 1, "caption: no", "cancelled"),
    "500 ok": (State.SUCCEEDED, 2, None, None),
    "503 503 ok": (State.SUCCEEDED, 1, None, None),
    "cut ok": (State.SUCCEEDED, 2, None, None),
    "gap ok": (State.SUCCEEDED, 2, None, None),
}


async def test_every_error_has_its_answer(frontend):
    ids = {script: await frontend.submit(script, script.replace(" ", "-")) for script in ENDS}
    fine = await frontend.until(ids["ok"], State.SUCCEEDED)
    assert (await frontend.record(ids["500"])).state is State.QUEUED
    jobs = {script: await frontend.ended(job_id) for script, job_id in ids.items()}
    assert {script: (job.state, job.attempts, job.error, job.error_code) for script, job in jobs.items()} == ENDS
    assert jobs["ok"] == fine
    paths = [path for job in jobs.values() if job.result for path in job.result["audio"]]
    known = [await frontend.store.find_audio(path) for path in paths]
    assert len(known) == 5
    assert {file.file for file in known} == {file.name for file in (frontend.state / "audio").iterdir()}


async def test_jobs_that_wait_for_a_part_hold_no_worker(tmp_path, faulty):
    """The LM may load for minutes: songs that need none go by those that do."""
    url, _ = faulty
    async with Frontend(tmp_path, url, workers=1) as frontend:
        waiting = [await frontend.submit("503 503 ok", f"waits{i}") for i in range(3)]
        fine = await frontend.until(await frontend.submit("ok", "goes-by"), State.SUCCEEDED, seconds=2)
        late = [await frontend.until(job_id, State.SUCCEEDED) for job_id in waiting]
    assert all(job.finished_at > fine.finished_at for job in late)
    assert [job.attempts for job in late] == [1, 1, 1]


@pytest.mark.parametrize("engines", ["vllm", "pt", "both"])
async def test_readiness_tells_of_the_lm_and_does_not_need_it(tmp_path, faulty, engines):
    settings = resolve({"state": str(tmp_path), "triton_url": faulty[0], "lm_backend": engines}, {}, {})
    async with Services(settings) as services:
        readiness = await services.readiness()
    assert readiness.lm == "loading"
    assert set(readiness.missing) == set(SHARED_TRITON_MODELS) - {"acestep"}


async def test_the_record_tells_what_the_lm_did(frontend):
    job = await frontend.ended(await frontend.submit("lm", "lm"))
    thinking = replace(job, work=replace(job.work, song=dict(job.work.song) | {"thinking": True}))
    shown = record(thinking, 5.0, 1)["result"]
    assert shown["generation_info"].split("\n")[3:] == [
        "Model: m", "LM: an-lm on pt, 11 tokens read, 22 written", "LM wrote: bpm, caption, audio codes",
        "Schedule: 1", "Time: plan 1.2s, codes 2.0s, condition 0.1s, denoise 0.2s, decode 0.3s", "a note"]
    assert (shown["genres"], shown["metas"]["genres"], shown["bpm"]) == ("pop", "pop", 90)
    assert (shown["metas"]["caption"], shown["metas"]["vocal_language"]) == ("by the LM", "zh")
    old = {name: value for name, value in job.result.items() if not name.startswith("lm")}
    assert record(replace(job, result=old), 5.0, 1)["result"]["lm_model"] is None, "of a version without an LM"


def wave(samples, rate=48_000, seed=0):
    """int16 noise [samples, 2], and the flac file that holds it."""
    noise = np.random.default_rng(seed).integers(-20_000, 20_000, (samples, 2), dtype=np.int16)
    file = io.BytesIO()
    soundfile.write(file, noise, rate, format="FLAC")
    return noise, file.getvalue()


def files_of(frontend, job):
    """int16 samples of each of a job's files."""
    names = [path.rsplit("/", 1)[1] for path in job.result["audio"]]
    return [soundfile.read(frontend.state / "audio" / name, dtype="int16")[0] for name in names]


def uploads_left(frontend):
    return len(list((frontend.state / "uploads").iterdir()))


async def test_uploads_reach_the_pipeline_and_come_back_bit_by_bit(frontend):
    (source, file), (reference, other) = wave(50_000), wave(1_000_000, seed=1)
    jobs = [await frontend.submit("echo", f"echo{i}", src_audio=file, reference_audio=other) for i in range(2)]
    for job_id in jobs:
        job = await frontend.ended(job_id)
        first, second = files_of(frontend, job)
        assert np.array_equal(first, source)
        assert np.array_equal(second, reference)
    await until(lambda: not uploads_left(frontend))  # they go right after the job has ended


async def test_uploads_stay_until_the_job_has_ended(tmp_path, faulty):
    url, _ = faulty
    source, file = wave(48_000)
    async with Frontend(tmp_path, url, workers=0) as first:
        waits = await first.submit("500 echo", "stays", src_audio=file)
        fails = await first.submit("400", "goes", src_audio=file)
        gone = await first.submit("echo", "gone", src_audio=file)
        assert uploads_left(first) == 3
        [lost] = (await first.record(gone)).work.uploads.values()
        (tmp_path / "uploads" / lost.file).unlink()
    async with Frontend(tmp_path, url) as second:
        job = await second.ended(waits)
        assert (job.state, job.attempts) == (State.SUCCEEDED, 2)
        assert np.array_equal(files_of(second, job)[0], source)
        assert (await second.ended(fails)).error_code == "invalid_request"
        job = await second.ended(gone)
        assert (job.state, job.attempts, job.error) == (
            State.FAILED, 1, "src_audio: the uploaded file is gone from the server's disk")
        await until(lambda: not uploads_left(second))


async def test_a_pipeline_that_dies_in_a_song_is_noticed(frontend):
    """Triton leaves such a stream open and silent."""
    job = await frontend.ended(await frontend.submit("die ok", "die"))
    assert (job.state, job.attempts) == (State.SUCCEEDED, 2)


async def test_a_stop_cancels_the_song_and_gives_the_job_back(tmp_path, faulty):
    url, traces = faulty
    async with Frontend(tmp_path, url) as first:
        job_id = await first.submit("hang ok", "hang")
        await first.until(job_id, State.RUNNING)
        while not (traces / "hang.attempts").exists():  # noqa: ASYNC110  another process writes it
            await asyncio.sleep(0.02)
    left = tmp_path / "spool" / f"{job_id}-1"  # as after a kill -9
    left.mkdir()
    async with Frontend(tmp_path, url) as second:
        job = await second.ended(job_id)
        assert (job.state, job.attempts, job.result["seeds"]) == (State.SUCCEEDED, 1, [5])
    assert (traces / "hang.cancelled").exists()
    assert not left.exists()


async def test_jobs_wait_while_triton_is_away(tmp_path):
    async with Frontend(tmp_path, "127.0.0.1:9") as frontend:
        job_id = await frontend.submit("ok", "away")
        await asyncio.sleep(1.5)
        job = await frontend.record(job_id)
        assert (job.state, job.error) in ((State.QUEUED, None), (State.RUNNING, None))
        assert job.attempts <= 1


@pytest.mark.parametrize(("message", "begun", "status", "text"), [
    ("[400] duration: must be between 10 and 600", False, 400, "duration: must be between 10 and 600"),
    ("in ensemble 'x', [503] model is\nnot available", True, 503, "model is not available"),
    ("Request for unknown model: 'acestep' is not found", False, 503, "the song pipeline is not ready"),
    ("Stub process 'acestep_0_0' is not healthy.", False, 503, "the song pipeline is not ready"),
    ("Stub process 'acestep_0_0' is not healthy.", True, 500, "the song pipeline broke off"),
    ("Traceback: /opt/secret/model.py line 3", False, 500, "the song pipeline failed"),
])
def test_what_triton_says_becomes_a_status_and_a_line(message, begun, status, text):
    error = song_error(message, begun=begun)
    assert (error.status, error.text) == (status, text)
