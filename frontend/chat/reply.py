"""What a chat client is told of a finished song: text, audio as data URLs, token counts, notes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from frontend import musicality
from frontend.code_text import code_texts
from frontend.jobs.job import Job

from . import openai
from .files import SongFile
from .form import PLAIN, Form

NOT_WRITTEN = "Music generated successfully."  # documented, for songs that no LM had a part in
_METERS = {"2": "2/4", "3": "3/4", "4": "4/4", "6": "6/8"}


@dataclass(frozen=True)
class Completion:
    """What is the same in every part of an answer; `prompt` is what the client said of the song."""

    model: str
    prompt: str = ""
    form: Form = PLAIN
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(8)}")
    created: int = field(default_factory=lambda: int(time.time()))


def completion(reply: Completion, job: Job, files: Sequence[SongFile]) -> dict[str, Any]:
    """The answer, its audio still to be spliced in: as documented, or as OpenAI has it."""
    result, form = job.result or {}, reply.form
    choices = []
    for index, (some, codes) in enumerate(shares(result, files, form.choices)):
        message: dict[str, Any] = {"role": "assistant", "content": content(result)}
        if form.is_openai:
            message |= {"refusal": None, "audio": openai.audio(some[0], result), **codes}
            choices.append({"index": index, "message": message, "logprobs": None, "finish_reason": "stop"})
        else:
            choices.append({"index": index, "message": message | audio(some) | codes, "finish_reason": "stop"})
    answer = {
        "id": reply.id, "object": "chat.completion", "created": reply.created, "model": reply.model,
        "choices": choices, "usage": usage(result, reply.prompt),
    }
    return answer | ({"system_fingerprint": None} if form.is_openai else {}) | notes(job)


def shares(
    result: Mapping[str, Any], files: Sequence[SongFile], choices: int
) -> list[tuple[Sequence[SongFile], dict[str, Any]]]:
    """The files of every choice and, of songs that follow some, their audio codes, as upstream has them.

    One song's codes are a text, those of several a list.
    """
    size, codes = len(files) // choices, code_texts(result)
    parts: list[tuple[Sequence[SongFile], dict[str, Any]]] = []
    for begin in range(0, len(files), size):
        own = None if codes is None else codes[begin : begin + size]
        named = {} if own is None else {"audio_codes": own[0] if len(own) == 1 else own}
        parts.append((files[begin : begin + size], named))
    return parts


def audio(files: Sequence[SongFile]) -> dict[str, Any]:
    """The part of a message that holds the files."""
    return {"audio": [file.part() for file in files]}


def notes(job: Job) -> dict[str, list[str]]:
    """What was sent and not used, and what else is worth knowing of the song; nothing where there is nothing."""
    lines = [*job.work.notes, *(job.result or {}).get("notes", ())]
    return {"notes": lines} if lines else {}


def content(result: Mapping[str, Any]) -> str:
    """The text that goes with a finished song."""
    return describe(result["metadata"]) if result.get("lm") else NOT_WRITTEN


def describe(metadata: Mapping[str, Any]) -> str:
    """Metadata and lyrics in the document's form; what is not known is left out."""
    seconds = metadata.get("duration")
    known = {
        "Caption": metadata.get("caption"), "BPM": metadata.get("bpm"),
        "Duration": None if seconds is None else f"{round(seconds, 2):g}s", "Key": metadata.get("key_scale"),
        "Time Signature": _METERS.get(metadata.get("time_signature") or ""), "Language": metadata.get("vocal_language"),
    }
    text = "\n".join(("## Metadata", *(f"**{name}:** {value}" for name, value in known.items() if value)))
    lyrics = metadata.get("lyrics") or ""
    return text if not lyrics.strip() or musicality.is_instrumental(lyrics) else f"{text}\n\n## Lyrics\n{lyrics}"


def usage(result: Mapping[str, Any], prompt: str) -> dict[str, int]:
    """The LM's tokens; without it the words of the prompt, and nothing was written."""
    lm = result.get("lm")
    asked, written = (lm["prompt_tokens"], lm["completion_tokens"]) if lm else (len(prompt.split()), 0)
    return {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}
