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
    """When a song's tokens came, in seconds after it was sent."""

    first: float
    last: float
    tokens: int


@dataclass(frozen=True)
class Flight:
    """Songs that were sent at once; `seconds` until the last one had ended."""

    songs: list[Song]
    seconds: float

    @property
    def tokens(self) -> int:
        return sum(song.tokens for song in self.songs)

    @property
    def rate(self) -> float:
        """Tokens per second, from sending to the end, prompts included."""
        return self.tokens / self.seconds


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

    def ask_metadata(self, guided: bool) -> Ask:
        """The next song's metadata; guided as the pipeline did it before, or not."""
        self._number += 1
        brief = Brief(f"number {self._number}, a calm acoustic guitar ballad with soft piano", LYRICS)
        fields = [[name, None] for name in ("bpm", "caption", "duration", "keyscale", "language", "timesignature")]
        block = {"fields": fields, "duration_max": 600, "caption_max": 64, "then": "end", "text_max": 64}
        negative = self._render(prompts.metadata_prompt(Brief("", LYRICS))) if guided else None
        return Ask(
            prompt=self._render(prompts.metadata_prompt(brief)), negative=negative, constraint={"block": block},
            max_tokens=256, voice=VOICE, seed=self._number, purpose="metadata", cfg_scale=CFG_SCALE,
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
    written = await asyncio.gather(*(_row(client, model, prompt, spec, ask) for prompt, spec in rows))
    text, times, tokens = written[0]
    if ask.purpose == "codes":
        tokens = len(CODE.findall(text))
        assert tokens == ask.max_tokens - 1, f"{tokens} codes instead of {ask.max_tokens - 1}"
    return Song(times[0] - begin, times[-1] - begin, tokens)


async def _row(
    client: InferenceServerClient, model: str, prompt: str, spec: Mapping[str, Any], ask: Ask
) -> tuple[str, list[float], int]:
    """A row's text, when each piece of it came, and its tokens."""
    text, times, tokens = "", [], 0
    async for piece in stream(client, model, prompt, spec, ask.max_tokens):
        text += piece["text_output"]
        times.append(time.perf_counter())
        tokens += piece["num_output_tokens"]
    return text, times, tokens
