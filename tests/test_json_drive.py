"""Triton's own tools make a song with a JSON file alone."""

import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest

REQUEST = {"kind": "song", "caption": "soft piano", "duration": 10, "steps": 2, "seeds": [1]}


async def test_generate_stream(stack):
    events, samples = [], 0
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream(
            "POST", f"http://{stack.triton_http}/v2/models/acestep/generate_stream",
            json={"request": json.dumps(REQUEST)},
        ) as answer,
    ):
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                body = json.loads(line.removeprefix("data:"))
                events.append(json.loads(body["event"]))
                samples += len(body.get("pcm", [])) // 2
    assert events[0]["type"] == "metadata"
    assert events[-1]["type"] == "done"
    assert samples == 480_000


def test_perf_analyzer(stack, tmp_path):
    command = Path("build/tools/perf_analyzer/perf_analyzer")
    if not command.exists():
        pytest.fail("perf_analyzer is not installed: make tools")
    data = tmp_path / "song.json"
    data.write_text(json.dumps({"data": [{"request": {"content": [json.dumps(REQUEST)], "shape": [1]}}]}))
    report = tmp_path / "profile.json"
    done = subprocess.run(
        [command, "-m", "acestep", "-u", stack.triton_grpc, "-i", "grpc", "--streaming", "--input-data", data,
         "--request-count", "3", "--concurrency-range", "1", "--profile-export-file", report, "--async"],
        capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"LD_LIBRARY_PATH": str(command.parent)})
    assert done.returncode == 0, done.stdout + done.stderr
    requests = json.loads(report.read_text())["experiments"][0]["requests"]
    assert len(requests) >= 3
    # A song of 10 s is at least metadata, two audio events and done.
    assert all(len(request["response_timestamps"]) >= 4 for request in requests)
