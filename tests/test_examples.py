"""Every example of the README and of the API reference does what it says, on a whole stack.

Of a command only what a reader puts in is put in: hosts and ports, a job, a file. Where an example leaves the length or
the number of songs to the server, it is asked for one short song.
"""

# mypy: allow-untyped-calls

import base64
import io
import json
import re
import shlex
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parent.parent
TEXTS = {name: (ROOT / name).read_text() for name in ("README.md", "docs/api.md")}
HOSTS = {"http://127.0.0.1:8001": "api", "http://127.0.0.1:8002": "chat", "http://127.0.0.1:18000": "triton_http"}
# The status goes where it can be told from the answer.
CURL = 'curl() { command curl --no-progress-meter -w "%{stderr}%{http_code}" "$@"; }\n'


def commands(text):
    """The shell commands of a document that begin with curl, with the lines that go on."""
    found, command = [], ""
    for line in map(str.strip, text.splitlines()):
        if command or line.startswith("curl "):
            command += f"{line}\n"
            if is_whole(command):
                found.append(command)
                command = ""
    assert not command, command
    return found


def is_whole(command):
    try:
        shlex.split(command, comments=True)
    except ValueError:  # a quotation that goes on
        return False
    return not command.endswith("\\\n")


EXAMPLES = [pytest.param(command, id=f"{name}-{i}") for name, text in TEXTS.items()
            for i, command in enumerate(commands(text))]


@dataclass(frozen=True)
class Made:
    """A job that has succeeded: its record, and its file of 21 seconds."""

    record: dict[str, Any]
    song: bytes


@pytest.fixture(scope="module")
def api(stack):
    with httpx.Client(base_url=stack.api, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def made(api):
    asked = {"caption": "x", "audio_duration": 21, "bpm": 90, "key_scale": "Am", "time_signature": 4, "batch_size": 1}
    record = ended(api, api.post("/v1/music/generate", json=asked).json()["job_id"])
    return Made(record, api.get(record["result"]["first_audio_path"]).content)


def ended(api, job_id):
    """A job's last record; it has succeeded."""
    deadline = time.monotonic() + 120
    while (record := api.get(f"/v1/jobs/{job_id}").json())["status"] in ("queued", "running"):
        assert time.monotonic() < deadline, record
        time.sleep(0.05)
    assert record["status"] == "succeeded", record
    return record


def check_song(data):
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert (rate, samples.shape[1]) == (48_000, 2)
    assert len(samples) >= 10 * rate - 4_800
    assert np.abs(samples).max() > 0.1


def filled_in(command, stack, made):
    """The command as a reader runs it, with short songs."""
    for host, field in HOSTS.items():
        url = getattr(stack, field)
        command = command.replace(host, url if url.startswith("http") else f"http://{url}")
    command = command.replace("JOB_ID", made.record["job_id"])
    command = command.replace("FIRST_AUDIO_PATH", made.record["result"]["first_audio_path"])
    data = re.search(r"-d '(\{.*\})'", command, re.DOTALL)
    if data is None or "generate_stream" in command:
        return command
    sent = json.loads(data[1])
    length = {} if {"duration", "audio_duration"} & set(sent) else {"audio_duration": 10}
    return command.replace(data[1], json.dumps({"batch_size": 1, **length, **sent}))


@pytest.fixture(scope="module")
def heard(stack, made, tmp_path_factory):
    """What each example answers, and the folder it ran in; all of them are run at once."""
    assert shutil.which("curl"), "curl is missing"

    def run(command):
        folder = tmp_path_factory.mktemp("reader")
        (folder / "song.mp3").write_bytes(made.song)
        done = subprocess.run(
            ["bash", "-c", CURL + filled_in(command, stack, made)], cwd=folder, capture_output=True, text=True,
            timeout=120, check=True)
        assert done.stderr.strip() == "200", done
        return done.stdout, folder

    commands = {example.values[0] for example in EXAMPLES}
    with ThreadPoolExecutor(len(commands)) as pool:
        yield {command: pool.submit(run, command) for command in commands}


@pytest.mark.parametrize("command", EXAMPLES)
def test_every_curl_example(api, made, heard, command):
    answer, folder = heard[command].result()
    if "-o song.mp3" in command:
        assert (folder / "song.mp3").read_bytes() == made.song
        check_song(made.song)
    elif "full_analysis_only" in command:
        assert ended(api, json.loads(answer)["job_id"])["result"]["audio_codes"]
    elif "/v1/music/generate" in command:
        check_song(api.get(ended(api, json.loads(answer)["job_id"])["result"]["first_audio_path"]).content)
    elif "/chat/completions" in command:
        check_chat(answer)
    elif "/events" in command:
        *_, last = (line for line in answer.splitlines() if line.startswith("data: "))
        assert json.loads(last.removeprefix("data: "))["job_id"] == made.record["job_id"]
        assert "event: succeeded" in answer
    elif "generate_stream" in command:
        *_, last = (line for line in answer.splitlines() if line)
        assert json.loads(json.loads(last.removeprefix("data: "))["event"])["type"] == "done"
    else:
        assert json.loads(answer)["result"] == made.record["result"]


def check_chat(answer):
    """A completion, whole or as a stream, with one song."""
    if answer.startswith("data: "):
        *events, end = [line.removeprefix("data: ") for line in answer.splitlines() if line]
        assert end == "[DONE]"
        [message] = [delta for event in events if "audio" in (delta := json.loads(event)["choices"][0]["delta"])]
    else:
        message = json.loads(answer)["choices"][0]["message"]
    [part] = message["audio"]
    check_song(base64.b64decode(part["audio_url"]["url"].partition("data:audio/mpeg;base64,")[2]))


def test_no_example_is_left_out():
    for name, text in TEXTS.items():
        told = len(re.findall(r"^\s*curl\b", text, re.MULTILINE))
        assert len(commands(text)) == told >= 4, name


def test_the_python_example(stack):
    [example] = re.findall(r"^    client = openai\..*?(?=\n\n)", TEXTS["docs/api.md"], re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    text = "\n".join(line.removeprefix("    ") for line in example.splitlines())
    exec(f"import openai\n{text.replace('http://127.0.0.1:8002', stack.chat)}", names)
    names["client"].close()
    check_song(base64.b64decode(names["url"].partition("data:audio/flac;base64,")[2]))


def test_the_answers_shown_are_those_given(stack, api):
    """Keys, their order and types; and every value that a request decides."""
    shown_at_first, shown_at_last = (json.loads(block) for block in re.findall(
        r"```json\n(.*?)```", TEXTS["docs/api.md"], re.DOTALL))
    command = commands(TEXTS["docs/api.md"])[0]
    [data] = re.findall(r"-d '(.*)'", command, re.DOTALL)
    first = api.post("/v1/music/generate", json=json.loads(data)).json()
    last = ended(api, first["job_id"])
    assert outline(first) == outline(shown_at_first)
    assert outline(last) == outline(shown_at_last)
    shown, given = shown_at_last["result"], last["result"]
    varies = ("first_audio_path", "audio_paths", "generation_info")
    assert {key: value for key, value in given.items() if key not in varies} == {
        key: value for key, value in shown.items() if key not in varies}
    lines = zip(given["generation_info"].splitlines(), shown["generation_info"].splitlines()[:4], strict=False)
    assert all(re.sub(r"\d+\.\d", "", one) == re.sub(r"\d+\.\d", "", other) for one, other in lines)


def outline(value):
    """A value's keys in order, down to the types of what has none."""
    if isinstance(value, dict):
        return [(key, outline(entry)) for key, entry in value.items()]
    if isinstance(value, list):
        return [outline(entry) for entry in value]
    return "number" if isinstance(value, int | float) else type(value).__name__
