"""One song's conversation with the LM: guided pairs of rows, watched, and taken back when the song ends early."""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from ..errors import FAULT, NOT_READY, SongError
from .engine import ABORTED, REFUSED, Engine

_LOOK = 0.1
# Triton never ends the streams of a process that died, so a silent engine is asked whether it knows the song.
_SILENCE = 3.0
_ANSWER = 10.0
_PARTING = 5.0
_PARTINGS: set[asyncio.Task[None]] = set()  # an event loop itself does not hold its tasks


@dataclass(frozen=True)
class Voice:
    """How the LM's words are chosen (docs/behaviour.md, Seeds), the same for all that a song has it write."""

    temperature: float
    top_k: int
    top_p: float
    cfg_scale: float
    repetition_penalty: float


@dataclass(frozen=True)
class Script:
    """One text to be written: its prompt, what it is guided away from, its seed, and what holds it in form.

    `constraint` is the `constraint` of lm_guidance/spec.py; `negative` None means no guidance.
    """

    purpose: str
    seed: int
    prompt: str
    negative: str | None
    max_tokens: int
    constraint: Mapping[str, Any] | None


@dataclass(frozen=True)
class Written:
    """A finished text, and the tokens it took over all of its rows' prompts and its one answer."""

    text: str
    prompt_tokens: int
    completion_tokens: int


Listen = Callable[[str], None]


class Writer:
    """Has one engine write for one song; `check` raises when the song's caller has left."""

    def __init__(self, engine: Engine, voice: Voice, check: Callable[[], None]) -> None:
        self._engine = engine
        self._voice = voice
        self._check = check
        self._song = uuid.uuid4().hex
        self._heard = time.monotonic()

    async def write(self, script: Script, listen: Listen) -> Written:
        """The text; `listen` hears it as it grows. Errors: SongError; whatever ends it early also ends its rows."""
        self._heard = time.monotonic()
        rows = [asyncio.create_task(self._read(prompt, parameters, listen if index == 0 else None))
                for index, (prompt, parameters) in enumerate(self._rows(script))]
        try:
            await self._watch(rows)
            answers = [row.result() for row in rows]
        except BaseException:
            # In its own time: the song, its place and its memory do not wait for an engine that is slow to answer.
            parting = asyncio.create_task(self._part())
            _PARTINGS.add(parting)
            parting.add_done_callback(_PARTINGS.discard)
            raise
        finally:
            for row in rows:
                row.cancel()
        return Written(answers[0].text, sum(a.prompt_tokens for a in answers), answers[0].completion_tokens)

    def _rows(self, script: Script) -> list[tuple[str, dict[str, Any]]]:
        """Prompt and sampling parameters of each row."""
        voice = self._voice
        shared: dict[str, Any] = {
            "repetition_penalty": voice.repetition_penalty,
            "sample": {"temperature": voice.temperature, "top_k": voice.top_k, "top_p": voice.top_p,
                       "seed": script.seed, "purpose": script.purpose},
            "constraint": script.constraint,
        }
        if script.negative is None or voice.cfg_scale <= 1:
            return [(script.prompt, self._parameters("alone", script.max_tokens, shared))]
        shared |= {"pair": uuid.uuid4().hex, "cfg_scale": voice.cfg_scale}
        return [(script.prompt, self._parameters("conditional", script.max_tokens, shared)),
                (script.negative, self._parameters("unconditional", script.max_tokens, shared))]

    def _parameters(self, role: str, max_tokens: int, more: Mapping[str, Any]) -> dict[str, Any]:
        # Greedy as far as the engine knows: the choice is made by lm_guidance, the same on every engine.
        return {"temperature": 0, "max_tokens": max_tokens, "skip_special_tokens": False,
                "spaces_between_special_tokens": False,
                "extra_args": {"acestep": {"song": self._song, "role": role, **more}}}

    async def _read(self, prompt: str, parameters: Mapping[str, Any], listen: Listen | None) -> Written:
        parts: list[str] = []
        async with aclosing(self._engine.stream(prompt, parameters)) as pieces:
            async for piece in pieces:
                self._heard = time.monotonic()
                parts.append(piece.text)
                if listen is not None and piece.text:
                    listen(piece.text)
                if piece.finish == ABORTED:
                    raise SongError(NOT_READY, "the LM gave the song up")
                if piece.finish == REFUSED:
                    raise SongError(FAULT, f"the LM refused a text of {len(prompt)} characters")
                if piece.finish:
                    return Written("".join(parts), piece.prompt_tokens, piece.completion_tokens)
        raise SongError(FAULT, "the LM ended a text without a reason")

    async def _watch(self, rows: list[asyncio.Task[Written]]) -> None:
        """Until every row is through; raises for the first that fails, a caller who left, an engine that died."""
        while True:
            done, waiting = await asyncio.wait(rows, timeout=_LOOK, return_when=asyncio.FIRST_EXCEPTION)
            for row in done:
                row.result()
            if not waiting:
                return
            self._check()
            if time.monotonic() - self._heard > _SILENCE:
                await self._ask()

    async def _ask(self) -> None:
        """SongError when the engine does not know the song: it was started anew."""
        try:
            async with asyncio.timeout(_ANSWER):
                finish = await self._tell("ask")
        except TimeoutError:
            return  # busy, or dead: the one is heard of again, the other says so to the next question
        if finish == ABORTED:
            raise SongError(NOT_READY, "the LM was started anew")
        self._heard = time.monotonic()

    async def _part(self) -> None:
        """Ends what the song still has at the engine; an engine that does not answer has nothing of it any more."""
        with suppress(SongError, TimeoutError):
            async with asyncio.timeout(_PARTING):
                await self._tell("cancel")

    async def _tell(self, role: str) -> str:
        async with aclosing(self._engine.stream(role, self._parameters(role, 1, {}))) as pieces:
            async for piece in pieces:
                if piece.finish:
                    return piece.finish
        return ""


