"""Chat messages: which one decides, and what it asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from frontend.coerce import unix_lines
from frontend.errors import RequestError

NO_INPUT = "No input provided in messages"
_MARKERS = ("[verse", "[chorus", "[bridge", "[intro", "[outro", "[hook", "[pre-chorus", "[refrain", "[inst")
_LYRIC_LINES = 4
_LYRIC_WIDTH = 60  # lines of lyrics are shorter than this on the average


@dataclass(frozen=True)
class Message:
    """The text of a message, and the `data` of its input_audio parts as they came.

    `others` are the types of its parts that are not used; `is_not_alone`: other messages say something, too.
    """

    text: str
    audio: tuple[object, ...] = ()
    others: tuple[str, ...] = field(default=(), compare=False)
    is_not_alone: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Wish:
    """What a text asks for: a `prompt` and `lyrics`, or a song by a `query` in natural language.

    `is_tagged`: the client said which part is which.
    """

    prompt: str = ""
    lyrics: str = ""
    query: str = ""
    is_tagged: bool = False


def deciding_message(messages: object) -> Message:
    """The last message of a user that is not empty; all others are history. 400 when there is none."""
    if messages is None or messages == []:
        raise RequestError(400, NO_INPUT)
    if not isinstance(messages, list):
        raise RequestError(400, "messages: must be a list")
    for message in reversed(messages):
        if not isinstance(message, Mapping):
            raise RequestError(400, "messages: each must be an object with role and content")
        if message.get("role", "user") == "user":
            found = _read(message.get("content"))
            if found.text or found.audio:
                return replace(found, is_not_alone=any(_says(other) for other in messages if other is not message))
    return Message("")


def _says(message: object) -> bool:
    """Whether a message has something in it."""
    values = [message.get(key) for key in ("content", "audio", "tool_calls")] if isinstance(message, Mapping) else []
    return any(value.strip() if isinstance(value, str) else value for value in values)


def _read(content: object) -> Message:
    """A message's content: text, or a list of parts of which texts and audio count."""
    if content is None:
        return Message("")
    if isinstance(content, str):
        return Message(content.strip())
    if not isinstance(content, list):
        raise RequestError(400, "messages: content must be text or a list of parts")
    texts: list[str] = []
    audio: list[object] = []
    others: dict[str, None] = {}
    for part in content:
        match part:
            case str(text) | {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "input_audio", "input_audio": {"data": data}}:
                audio.append(data)
            case {"type": "text" | "input_audio" as kind}:
                raise RequestError(400, f"messages: a part of type {kind} has no {kind} that can be read")
            case {"type": str(kind)}:
                others[kind] = None
            case _:
                others["(none)"] = None
    return Message("\n".join(texts).strip(), tuple(audio), tuple(others))


def understand(text: str, lyrics: str = "", *, as_query: bool = False) -> Wish:
    """What `text` asks for beside `lyrics` that the client gave apart from it, which win.

    Tags say what is what; text that looks like lyrics is lyrics; any other text is a query, or, beside given lyrics,
    their prompt. `as_query`: text without tags is a query whatever it looks like.
    """
    text = unix_lines(text)
    found = _tagged(text)
    if found is not None:
        prompt, tagged_lyrics = found
        if as_query:
            return Wish(query=prompt, lyrics=lyrics or tagged_lyrics, is_tagged=True)
        return Wish(prompt, lyrics or tagged_lyrics, is_tagged=True)
    if as_query:
        return Wish(lyrics=lyrics, query=text)
    if lyrics:
        return Wish("" if _has_marker(text) else text, lyrics)
    return Wish(lyrics=text) if looks_like_lyrics(text) else Wish(query=text)


def looks_like_lyrics(text: str) -> bool:
    """Whether a text has a marker such as [Verse], or several short lines."""
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    return _has_marker(text) or (
        len(lines) >= _LYRIC_LINES and sum(map(len, lines)) < _LYRIC_WIDTH * len(lines))


def _has_marker(text: str) -> bool:
    lowered = text.lower()
    return any(marker in lowered for marker in _MARKERS)


def _tagged(text: str) -> tuple[str, str] | None:
    """(prompt, lyrics) of a text with tags; what stands outside of them is the prompt if there is no other."""
    prompt, rest = _cut(text, "prompt")
    lyrics, rest = _cut(rest, "lyrics")
    if prompt is None and lyrics is None:
        return None
    return prompt or rest.strip(), lyrics or ""


def _cut(text: str, tag: str) -> tuple[str | None, str]:
    """(what the first <tag> encloses, the text without it); (None, text) when the tag is not there or not closed."""
    begin = re.search(f"<{tag}>", text, re.IGNORECASE)
    end = re.compile(f"</{tag}>", re.IGNORECASE).search(text, begin.end()) if begin else None
    if begin is None or end is None:
        return None, text
    return text[begin.end() : end.start()].strip(), f"{text[: begin.start()]}\n{text[end.end() :]}"
