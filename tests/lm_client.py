"""Tests' own client of the LM's engines (`lm`, `lm_pt`): rows and guided pairs by the official backend's tensors."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

VOICE: dict[str, Any] = {"temperature": 0.85, "top_k": 0, "top_p": 0.9}  # what the APIs send by default
GREEDY: dict[str, Any] = {"temperature": 0, "top_k": 0, "top_p": 1.0}


@dataclass(frozen=True)
class Row:
    """One finished row: its text, why it ended, and its tokens."""

    text: str
    finish: str
    prompt_tokens: int
    tokens: int


@dataclass(frozen=True)
class Ask:
    """One text to have written; `negative` None is a row alone."""

    prompt: str
    negative: str | None = None
    constraint: Mapping[str, Any] | None = None
    max_tokens: int = 64
    voice: Mapping[str, Any] | None = None
    seed: int = 0
    purpose: str = "codes"
    cfg_scale: float = 2.5
    repetition_penalty: float = 1.0

    def rows(self, song: str) -> list[tuple[str, dict[str, Any]]]:
        """Prompt and specification of each row."""
        shared = {"song": song, "repetition_penalty": self.repetition_penalty, "constraint": self.constraint,
                  "sample": {**(self.voice or VOICE), "seed": self.seed, "purpose": self.purpose}}
        if self.negative is None:
            return [(self.prompt, shared | {"role": "alone"})]
        shared |= {"pair": uuid.uuid4().hex, "cfg_scale": self.cfg_scale}
        return [(self.prompt, shared | {"role": "conditional"}), (self.negative, shared | {"role": "unconditional"})]


async def write(grpc: str, model: str, ask: Ask, *, song: str = "", apart: float = 0.0) -> Row:
    """Has one text written; the unconditional row is sent `apart` seconds after the conditional one."""
    song = song or uuid.uuid4().hex
    async with InferenceServerClient(grpc) as client:

        async def row(index: int, prompt: str, spec: dict[str, Any]) -> Row:
            await asyncio.sleep(index * apart)
            return await send(client, model, prompt, spec, ask.max_tokens)

        rows = await asyncio.gather(*(row(i, *each) for i, each in enumerate(ask.rows(song))))
    assert len({(r.text, r.finish) for r in rows}) == 1, "both rows of a pair append the same tokens"
    return rows[0]


async def tell(grpc: str, model: str, role: str, song: str) -> Row:
    """A `cancel` or an `ask` of a song."""
    async with InferenceServerClient(grpc) as client:
        return await send(client, model, role, {"role": role, "song": song}, 1)


async def send(
    client: InferenceServerClient, model: str, prompt: str, spec: Mapping[str, Any] | None, max_tokens: int, **more: Any
) -> Row:
    """One row to its end."""
    parts: list[str] = []
    finish, asked, made = "", 0, 0
    async for piece in stream(client, model, prompt, spec, max_tokens, **more):
        parts.append(piece["text_output"])
        finish = piece["finish_reason"]
        asked, made = piece["num_input_tokens"], made + piece["num_output_tokens"]
    return Row("".join(parts), finish, asked, made)


async def stream(
    client: InferenceServerClient, model: str, prompt: str, spec: Mapping[str, Any] | None, max_tokens: int, **more: Any
) -> AsyncGenerator[dict[str, Any], None]:
    """The responses of one row as they come."""
    parameters = {"temperature": 0, "max_tokens": max_tokens, "skip_special_tokens": False,
                  "spaces_between_special_tokens": False, **more}
    if spec is not None:
        parameters["extra_args"] = {"acestep": dict(spec)}
    flags = ("stream", "exclude_input_in_output", "return_finish_reason", "return_num_input_tokens",
             "return_num_output_tokens")
    tensors = [InferInput(name, [1], "BYTES") for name in ("text_input", "sampling_parameters")]
    tensors[0].set_data_from_numpy(np.array([prompt.encode()], np.object_))
    tensors[1].set_data_from_numpy(np.array([json.dumps(parameters).encode()], np.object_))
    for name in flags:
        tensors.append(InferInput(name, [1], "BOOL"))
        tensors[-1].set_data_from_numpy(np.array([True]))

    async def inputs() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": model, "inputs": tensors}

    async for result, error in client.stream_infer(inputs()):
        if error is not None:
            raise error
        piece = {o.name: result.as_numpy(o.name).reshape(-1)[0] for o in result.get_response().outputs}
        if piece:
            yield {name: value.decode() if isinstance(value, bytes) else int(value) for name, value in piece.items()}
