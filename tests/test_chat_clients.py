"""OpenAI's dialect as public clients read it: OpenAI's SDKs, LiteLLM, Vercel's AI SDK, OpenRouter's SDK.

Each makes a song, streams one, sends the answer back as history, and meets an error in a stream.
"""

# mypy: allow-untyped-calls

import asyncio
import base64
import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
import soundfile

from frontend.chat.reply import NOT_WRITTEN
from frontend.chat.routes import create_app
from tests.serving import served

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "build/tools"
NODE = ROOT / "tests/clients/openai_dialect.mjs"
LITELLM = ROOT / "tests/clients/litellm_dialect.py"
LYRICS = "[Verse]\nla la"
SONG = [{"role": "user", "content": f"<prompt>plan:x meta</prompt><lyrics>{LYRICS}</lyrics>"}]
TOLD = f"\n\n## Metadata\n**Caption:** plan:x meta\n\n## Lyrics\n{LYRICS}"
COUNT = {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}
FAILED = "caption: told to fail"
UNREAD = "not used, because nothing here has such a name: audio.voice"


@pytest.fixture(scope="module")
async def base(scripted, tmp_path_factory):
    async with (
        scripted.frontend(tmp_path_factory.mktemp("state"), workers=4) as services,
        served(create_app(services)) as client,
    ):
        yield str(client.base_url).rstrip("/")


def is_song(data):
    """Whether base64 text is a wav of a scripted song."""
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data, validate=True)))
    return (rate, len(samples)) == (48_000, 4800)


def is_whole(audio, expires="expires_at"):
    """Whether an audio object of a message is all there."""
    return (is_song(audio["data"]), audio["transcript"], audio["id"][:6], type(audio[expires])) == (
        True, LYRICS, "audio_", int)


async def told(*command, **env):
    """What a client's program prints: JSON in its last line."""
    program = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, **env})
    out, err = await asyncio.wait_for(program.communicate(), 120)
    assert program.returncode == 0, err.decode()
    return json.loads(out.decode().splitlines()[-1])


async def node(client, folder, base):
    assert shutil.which("node"), "node is missing: install Node.js 20 or newer"
    assert (TOOLS / folder / "node_modules").is_dir(), f"{TOOLS / folder} is missing: run make tools (it needs npm)"
    return await told("node", NODE, client, TOOLS / folder, base)


async def test_openai_python(base):
    sdk: Any = openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
    asked = {"model": "m", "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
    made = await sdk.chat.completions.create(messages=SONG, n=2, **asked)
    for choice in made.choices:
        assert is_whole(choice.message.audio.to_dict())
        assert choice.message.content == NOT_WRITTEN
    assert (made.usage.to_dict(), made.notes) == (COUNT, [UNREAD])
    options = {"stream_options": {"include_usage": True}}
    async with sdk.chat.completions.stream(messages=SONG, n=2, **asked, **options) as stream:
        streamed = await stream.get_final_completion()
    for choice in streamed.choices:
        assert is_whole(choice.message.to_dict()["audio"])
        assert (choice.message.content, choice.finish_reason) == (TOLD, "stop")
    assert streamed.usage.to_dict() == COUNT
    history = [*SONG, made.choices[0].message, streamed.choices[1].message.to_dict(), *SONG]
    again = await sdk.chat.completions.create(messages=history, **asked)
    assert is_whole(again.choices[0].message.audio.to_dict())
    failing = [{"role": "user", "content": "<prompt>plan:x fail:400</prompt>"}]
    with pytest.raises(openai.APIError, match=FAILED):
        async for _ in await sdk.chat.completions.create(messages=failing, stream=True, **asked):
            pass
    await sdk.close()


async def test_openai_node(base):
    heard = await node("openai-node", "openai-node", f"{base}/v1")
    assert [is_whole(message["audio"]) for message in (heard["made"], *heard["streamed"], heard["again"])] == [True] * 4
    assert (heard["made"]["content"], heard["streamed"][1]["content"]) == (NOT_WRITTEN, TOLD)
    assert (heard["usage"], heard["notes"], heard["error"]) == (COUNT, [[UNREAD]] * 2, FAILED)


async def test_vercels_ai_sdk(base):
    """It has the words as its text and hands the audio out as raw values; it always asks for the usage of a stream."""
    heard = await node("ai-sdk", "ai-sdk", f"{base}/v1")
    assert is_whole(heard["made"]["audio"])
    assert is_whole(heard["again"]["audio"])
    assert is_song(heard["data"])
    assert (heard["text"], heard["errors"]) == (TOLD, [FAILED])
    assert heard["usage"]["totalTokens"] == 2


async def test_openrouters_sdk(base):
    heard = await node("openrouter", "openrouter", f"{base}/api/v1")
    assert is_whole(heard["made"]["audio"], "expiresAt")
    assert is_whole(heard["again"]["audio"], "expiresAt")
    assert is_song(heard["data"])
    assert (len(heard["ids"]), heard["reason"]) == (1, "stop")
    assert heard["error"] == {"code": 400, "message": FAILED}
    assert heard["refused"] == ["BadRequestResponseError", "top_k: must be at least 0"]
    assert heard["usage"]["totalTokens"] == 2


@pytest.mark.slow  # its import alone takes five seconds
async def test_litellm(base):
    folder = TOOLS / "litellm"
    assert (folder / "litellm").is_dir(), f"{folder} is missing: run make tools"
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    heard = await told(sys.executable, LITELLM, f"{base}/v1", PYTHONPATH=str(folder), **offline)
    assert [is_whole(message["audio"]) for message in (*heard["made"], heard["built"], heard["again"])] == [True] * 4
    assert heard["built"]["content"] == TOLD
    assert {key: heard["usage"][key] for key in COUNT} == COUNT
    assert FAILED in heard["error"]
