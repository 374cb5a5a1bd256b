"""The chat API on a whole stack: the document's examples and clients, OpenAI's SDKs, songs from audio."""

# mypy: allow-untyped-calls

import asyncio
import base64
import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import soundfile

from frontend.chat.routes import create_app
from frontend.jobs.job import State
from frontend.services import Services
from frontend.settings import resolve
from tests.serving import served

ROOT = Path(__file__).parent.parent
NODE_SDK = ROOT / "build/tools/openai-node/node_modules/openai"
DOCUMENT = (ROOT / "tests/data/openrouter_clients.md").read_text()
HOST = "http://127.0.0.1:8002"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
CURLS = [text for language, text in BLOCKS if language == "bash"]
[PYTHON] = [text for language, text in BLOCKS if language == "python"]
[JAVASCRIPT] = [text for language, text in BLOCKS if language == "javascript"]
SENTENCE = "生成一首轻快的吉他曲"  # what the document's clients say
PATH = "/v1/chat/completions"
PIANO = [{"role": "user", "content": "<prompt>calm piano</prompt>"}]
SHORT = {"audio_config": {"duration": 10, "format": "wav"}}
# The SDK's types of `audio` are those of OpenAI's own models.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
# With all of these given, no LM changes what is asked for.
AS_GIVEN = {"use_format": False, "use_cot_caption": False, "use_cot_language": False, "bpm": 90, "key_scale": "C major",
            "time_signature": "4", "vocal_language": "en", "inference_steps": 2, "seed": 5}


@pytest.fixture(scope="module")
def chat(stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.chat, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def with_lm(stack):
    """The stack has its LM: a song of natural language is made, not refused."""
    assert httpx.get(f"{stack.api}/readyz").json()["lm"] == "ready", stack.output


def samples(url, head="data:audio/mpeg;base64,"):
    """[n, 2] at 48 kHz of a data URL."""
    assert url.startswith(head), url[:40]
    data, rate = soundfile.read(io.BytesIO(base64.b64decode(url.removeprefix(head), validate=True)), dtype="float32")
    assert (rate, data.shape[1]) == (48_000, 2)
    assert np.abs(data).max() > 0.1
    return data


def of_message(message, head="data:audio/mpeg;base64,"):
    return [samples(part["audio_url"]["url"], head) for part in message["audio"]]


def node(tmp_path, text, *arguments):
    """What a Node script prints."""
    assert shutil.which("node"), "node is missing: install Node.js 20 or newer"
    script = tmp_path / "script.mjs"
    script.write_text(text)
    done = subprocess.run(
        ["node", script, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def heard(stack, with_lm, tmp_path_factory):
    """What each of the document's clients prints, and the folder it ran in; all of them ask at once."""
    assert shutil.which("curl"), "curl is missing"

    def run(command):
        folder = tmp_path_factory.mktemp("client")
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=True)
        return done.stdout, folder

    programs = {text: ["bash", "-c", text.replace(HOST, stack.chat)] for text in CURLS}
    programs[PYTHON] = [sys.executable, "-c", PYTHON.replace(HOST, stack.chat)]
    with ThreadPoolExecutor(len(programs)) as pool:
        yield {text: pool.submit(run, command) for text, command in programs.items()}


@pytest.mark.parametrize("command", CURLS)
def test_every_curl_example(heard, command):
    told, _ = heard[command].result()
    [data] = re.findall(r"-d '(.*)'", command, re.DOTALL)
    sent = json.loads(data)
    if sent.get("stream"):
        *events, end = [line.removeprefix("data: ") for line in told.splitlines() if line]
        assert end == "[DONE]"
        deltas = [json.loads(event)["choices"][0]["delta"] for event in events]
        [message] = [delta for delta in deltas if "audio" in delta]
        [_] = [delta for delta in deltas if delta.get("content", "").startswith("\n\n## Metadata\n")]
    else:
        made = json.loads(told)
        message = made["choices"][0]["message"]
        assert made["usage"]["total_tokens"] == sum(made["usage"].values()) / 2
        assert message["content"].startswith("## Metadata\n")
        assert made["usage"]["completion_tokens"] > 0
    [song] = of_message(message)
    assert abs(len(song) / 48_000 - sent.get("duration", len(song) / 48_000)) <= 0.1


def test_the_documents_python_client(heard):
    told, folder = heard[PYTHON].result()
    assert "Generation complete!\nContent: " in told
    song, rate = soundfile.read(folder / "output.mp3")
    assert len(song) / rate >= 10


async def test_the_documents_javascript_client(scripted, tmp_path):
    """Its audio must fit into one read of 64 KB: a song of a tenth of a second."""
    async with scripted.frontend(tmp_path / "state") as services, served(create_app(services)) as client:
        text = JAVASCRIPT.replace(HOST, str(client.base_url).rstrip("/"))
        # That client sends natural language, and a scripted pipeline has no LM.
        text = text.replace(SENTENCE, "<prompt>plan:x meta</prompt>")
        told = await asyncio.to_thread(node, tmp_path, text + "\nconsole.log(JSON.stringify([content, audioUrl]));")
    content, url = json.loads(told)
    assert content.startswith("\n\n## Metadata\n")
    assert len(url) < 65_536
    samples(url)


@pytest.fixture(scope="module")
def sdk(stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.chat}/v1", api_key="none") as client:
        yield client


def test_openai_python_create_with_content_parts(sdk):
    parts = [{"role": "user", "content": [{"type": "text", "text": "<prompt>calm piano</prompt>"}]}]
    made = sdk.chat.completions.create(
        model="acemusic/acestep-v1.5-turbo", messages=parts, modalities=["audio"], temperature=0.5, top_p=0.8, seed=3,
        extra_body={"audio_config": {"duration": 10, "format": "flac"}, "batch_size": 2})
    assert made.choices[0].finish_reason == "stop"
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    songs = of_message(made.choices[0].message.to_dict(), "data:audio/flac;base64,")
    assert [len(song) for song in songs] == [480_000] * 2
    assert not np.array_equal(*songs)


def test_openai_python_stream(sdk):
    deltas = [chunk.choices[0].delta.to_dict() for chunk in sdk.chat.completions.create(
        model="m", messages=PIANO, stream=True, extra_body={"batch_size": 2, **SHORT})]
    assert deltas[0] == {"role": "assistant", "content": ""}
    [audio] = [delta for delta in deltas if "audio" in delta]
    assert [len(song) for song in of_message(audio, "data:audio/wav;base64,")] == [480_000] * 2


def test_openai_python_stream_helper(sdk):
    asked = {"batch_size": 2, **SHORT, **AS_GIVEN}
    with sdk.chat.completions.stream(model="m", messages=PIANO, extra_body=asked) as stream:
        kinds = {event.type for event in stream}
        [choice] = stream.get_final_completion().choices
    assert "chunk" in kinds
    assert choice.finish_reason == "stop"
    assert [part["type"] for part in choice.message.to_dict()["audio"]] == ["audio_url"] * 2


def test_models(sdk, chat):
    listed = sdk.models.list().data
    assert [model.id for model in listed] == [
        "acemusic/acestep-v1.5-turbo", "acemusic/acestep-tiny-turbo", "acemusic/acestep-tiny-base"]
    entry = chat.get("/api/v1/models").json()["data"][0]
    documented = ["id", "name", "created", "description", "input_modalities", "output_modalities", "context_length",
                  "pricing", "supported_sampling_parameters"]
    assert list(entry)[: len(documented)] == documented
    assert (entry["name"], entry["created"]) == ("ACE-Step", 1706688000)
    assert entry["pricing"] == {"prompt": "0", "completion": "0", "request": "0"}
    both = chat.get("/v1/models").json()
    assert both["models"] == [
        {"name": "acestep-tiny-turbo", "is_default": True}, {"name": "acestep-tiny-base", "is_default": False}]
    assert (both["default_model"], both["object"]) == ("acestep-tiny-turbo", "list")


NODE = """
import { createRequire } from "node:module";
const OpenAI = createRequire(import.meta.url)(process.argv[2]);
const client = new OpenAI({ baseURL: process.argv[3], apiKey: "none" });
const request = {
  model: "acemusic/acestep-v1.5-turbo", messages: [{ role: "user", content: "<prompt>calm piano</prompt>" }],
  audio_config: { duration: 10 }, batch_size: 2, ...JSON.parse(process.argv[4]),
};
const made = await client.chat.completions.create(request);
const told = [];
const stream = await client.chat.completions.create({ ...request, stream: true });
for await (const chunk of stream) told.push(chunk.choices[0]);
const models = [];
for await (const model of client.models.list()) models.push(model.id);
let error;
try { await client.chat.completions.create({ ...request, bpm: 5 }); } catch (caught) { error = caught; }
const message = made.choices[0].message;
console.log(JSON.stringify({ made: message, told, models, error: error.message, status: error.status }));
"""


def test_openai_node(stack, tmp_path):
    assert (NODE_SDK / "package.json").exists(), f"{NODE_SDK} is missing: run make tools (it needs npm)"
    told = json.loads(node(tmp_path, NODE, str(NODE_SDK), f"{stack.chat}/v1", json.dumps(AS_GIVEN)))
    assert len(of_message(told["made"])) == 2
    [audio] = [choice["delta"] for choice in told["told"] if "audio" in choice["delta"]]
    assert len(of_message(audio)) == 2
    assert told["told"][-1]["finish_reason"] == "stop"
    assert told["models"][0] == "acemusic/acestep-v1.5-turbo"
    assert (told["status"], told["error"]) == (400, "400 bpm: must be between 30 and 300")


def test_choices_are_the_songs_of_a_batch(chat):
    choices = [chat.post(PATH, json={"messages": PIANO, count: 2, **SHORT, **AS_GIVEN}).json()["choices"]
               for count in ("n", "batch_size")]
    apart, [batch] = ([of_message(choice["message"], "data:audio/wav;base64,") for choice in some] for some in choices)
    assert np.array_equal([song for [song] in apart], batch)
    assert not np.array_equal(*batch)


def sound(seconds, seed):
    file = io.BytesIO()
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, (round(44_100 * seconds), 1))
    soundfile.write(file, noise, 44_100, format="FLAC")
    return file.getvalue()


def native_song(stack, files, **body):
    """Samples that the native API makes."""
    with httpx.Client(base_url=stack.api, timeout=60) as api:
        answer = api.post("/v1/music/generate", data=body, files=files)
        job_id = answer.json()["job_id"]
        while (record := api.get(f"/v1/jobs/{job_id}").json())["status"] in ("queued", "running"):
            time.sleep(0.1)
        data = api.get(record["result"]["first_audio_path"]).content
    return soundfile.read(io.BytesIO(data), dtype="float32")[0]


@pytest.mark.parametrize(("task", "fields"), [
    ("cover", ("src_audio", "reference_audio")), ("repaint", ("src_audio",))])
def test_audio_parts_make_the_song_of_the_native_upload(stack, chat, task, fields):
    files = dict(zip(fields, (sound(11, 1), sound(3, 2)), strict=False))
    parts = [{"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": "flac"}}
             for data in files.values()]
    told = {"task_type": task, "audio_cover_strength": 0.5, "repainting_start": 2, "repainting_end": 6} | AS_GIVEN
    text = {"type": "text", "text": "<prompt>a waltz</prompt><lyrics>[inst]</lyrics>"}
    with ThreadPoolExecutor(1) as pool:
        native = pool.submit(
            native_song, stack, {field: (field, data) for field, data in files.items()}, caption="a waltz",
            lyrics="[inst]", audio_duration="10", batch_size="1", audio_format="wav", use_random_seed="false",
            **{name: str(value) for name, value in told.items()})
        answer = chat.post(PATH, json={"messages": [{"role": "user", "content": [*parts, text]}]} | told | SHORT)
    assert answer.status_code == 200, answer.text[:500]
    [song] = of_message(answer.json()["choices"][0]["message"], "data:audio/wav;base64,")
    assert np.array_equal(song, native.result())


@pytest.mark.usefixtures("with_lm")
def test_natural_language_that_is_thought_about(chat):
    answer = chat.post(PATH, json={"messages": [{"role": "user", "content": "a happy song"}], "thinking": True} | SHORT)
    assert answer.status_code == 200, answer.text[:500]
    message = answer.json()["choices"][0]["message"]
    assert message["content"].startswith("## Metadata\n")
    assert [len(song) for song in of_message(message, "data:audio/wav;base64,")] == [480_000]


def test_a_source_that_cannot_be_read(chat):
    audio = {"type": "input_audio", "input_audio": {"data": base64.b64encode(b"no audio").decode()}}
    answer = chat.post(PATH, json={"messages": [{"role": "user", "content": [audio]}], "task_type": "cover"})
    line = "src_audio: cannot be read; it must be wav, flac, ogg, opus, mp3, m4a, aac, webm, mp4 or mov"
    assert (answer.status_code, answer.json()["detail"]) == (400, line)


@pytest.fixture
async def narrow(stack, tmp_path):
    """A chat API of its own on the stack's models, that makes one song at a time."""
    settings = resolve({"state": str(tmp_path), "triton_url": stack.triton_grpc, "queue_workers": "1"}, {}, {})
    async with Services(settings) as services:
        while services.catalogue is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        async with served(create_app(services)) as client:
            client.timeout = httpx.Timeout(120)
            yield services, client


async def until_jobs(services, *expected):
    """Until the newest jobs, newest first, are in these states at these places of the queue."""
    async with asyncio.timeout(60):
        while [(job.state, job.position) for job in await services.store.list(len(expected))] != list(expected):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


ENDLESS = {"messages": PIANO, "duration": 200, "model": "acestep-tiny-base", "inference_steps": 200}


async def test_signs_of_life_while_two_songs_are_before(narrow):
    """The first lasts until a sign of life was heard, on any machine."""
    services, client = narrow
    running, first, second = (State.RUNNING, 0), (State.QUEUED, 1), (State.QUEUED, 2)
    endless = asyncio.create_task(client.post(PATH, json=ENDLESS))
    await until_jobs(services, running)
    between = asyncio.create_task(client.post(PATH, json={"messages": PIANO, **SHORT, **AS_GIVEN}))
    await until_jobs(services, first, running)
    times, told, waiting = [], [], 0
    async with client.stream("POST", PATH, json={"messages": PIANO, "stream": True, **SHORT}) as response:
        await until_jobs(services, second, first, running)
        async for line in response.aiter_lines():
            if line:
                times.append(time.monotonic())
                told.append(line[:200])
                if '"content": "."' in line:
                    [job] = await services.store.list(1)
                    waiting += job.state is State.QUEUED
                    endless.cancel()
    assert (await between).status_code == 200
    assert told[-1] == "data: [DONE]"
    dots = sum('"content": "."' in line for line in told)
    assert dots >= (times[-1] - times[0]) // 2 - 1
    assert waiting, "a sign of life while it was queued"
    assert max(later - earlier for earlier, later in pairwise(times)) <= 3


async def test_a_client_that_leaves_frees_the_models(narrow):
    services, client = narrow
    leaving = asyncio.create_task(client.post(PATH, json=ENDLESS))
    while not (jobs := await services.store.list(1)) or jobs[0].state is not State.RUNNING:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    leaving.cancel()
    begin = time.monotonic()
    assert (await client.post(PATH, json={"messages": PIANO, **SHORT})).status_code == 200
    assert time.monotonic() - begin < 20
    states = [job.state for job in await services.store.list(2)]
    assert states == [State.SUCCEEDED, State.FAILED]
