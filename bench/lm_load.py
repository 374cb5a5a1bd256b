"""Guided songs for an engine of the 5 Hz LM, as the pipeline asks for them, and when their codes came."""

import asyncio
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclient.grpc.aio import InferenceServerClient

from bench.lm_server import Served
from pipeline.lm import prompts
from pipeline.lm.prompts import Brief, Prompt
from pipeline.lm.template import ChatTemplate, LmTokenizer
from tests.lm_client import VOICE, Ask, stream

CODE = re.compile(r"<\|audio_code_\d+\|>")
CFG_SCALE = 2.5  # the API's default, as VOICE is
LYRICS = "[Verse]\nwalking home beneath the morning light\n[Chorus]\nthe river sings the night away"


@dataclass(frozen=True)
class Song:
    """When a song's codes came, in seconds after it was sent."""

    first: float
    last: float
    codes: int


@dataclass(frozen=True)
class Flight:
    """Songs that were sent at once; `seconds` until the last one had ended."""

    songs: list[Song]
    seconds: float

    @property
    def codes(self) -> int:
        return sum(song.codes for song in self.songs)

    @property
    def rate(self) -> float:
        """Guided codes per second, from sending to the end, prompts included."""
        return self.codes / self.seconds


class SongWriter:
    """Asks for codes by a checkpoint's own template.

    No two songs have the same words, so no conditional prompt is found in a cache; the unconditional one always is, as
    in service.
    """

    def __init__(self, checkpoint: Path) -> None:
        self._template = ChatTemplate((checkpoint / "chat_template.jinja").read_text(encoding="utf-8"))
        self._tokenizer = LmTokenizer(checkpoint / "tokenizer.json")
        self._number = 0

    def ask(self, codes: int) -> Ask:
        """The next song."""
        self._number += 1
        brief = Brief(f"number {self._number}, a calm acoustic guitar ballad with soft piano", LYRICS)
        block = "<think>\nbpm: 120\nduration: 30\nkeyscale: C major\nlanguage: en\ntimesignature: 4\n</think>"
        return Ask(
            prompt=self._render(prompts.codes_prompt(brief, block)),
            negative=self._render(prompts.codes_negative(prompts.NOTHING)),
            constraint={"codes": codes}, max_tokens=codes + 1, voice=VOICE, seed=self._number, cfg_scale=CFG_SCALE,
        )

    def prompt_tokens(self) -> tuple[int, int]:
        """Tokens of a conditional and an unconditional prompt."""
        ask = self.ask(1)
        return self._tokenizer.count(ask.prompt), self._tokenizer.count(ask.negative or "")

    def _render(self, prompt: Prompt) -> str:
        return self._template.render(prompt.turns, prompt.begun)


def fly(served: Served, asks: list[Ask]) -> Flight:
    """Sends all songs at once and waits for the last one."""

    async def all_at_once() -> Flight:
        async with InferenceServerClient(served.grpc) as client:
            begin = time.perf_counter()
            songs = await asyncio.gather(*(_write(client, served.model, ask) for ask in asks))
            return Flight(list(songs), time.perf_counter() - begin)

    return asyncio.run(all_at_once())


async def _write(client: InferenceServerClient, model: str, ask: Ask) -> Song:
    begin = time.perf_counter()
    rows = ask.rows(uuid.uuid4().hex)
    conditional, _ = await asyncio.gather(*(_row(client, model, prompt, spec, ask) for prompt, spec in rows))
    text, times = conditional
    codes = len(CODE.findall(text))
    assert codes == ask.max_tokens - 1, f"{codes} codes instead of {ask.max_tokens - 1}"
    return Song(times[0] - begin, times[-1] - begin, codes)


async def _row(
    client: InferenceServerClient, model: str, prompt: str, spec: Mapping[str, Any], ask: Ask
) -> tuple[str, list[float]]:
    """A row's text, and when each piece of it came."""
    text, times = "", []
    async for piece in stream(client, model, prompt, spec, ask.max_tokens):
        text += piece["text_output"]
        times.append(time.perf_counter())
    return text, times
