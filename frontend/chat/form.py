"""The form in which a client wants its answer: how many choices, whose dialect, whether a stream counts its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from frontend import coerce
from frontend.errors import RequestError
from frontend.fields import Field, Fields, Level, read_fields, spellings

from .fields import object_at, read_openai_audio

STREAM_OPTIONS = spellings("stream_options")
OPTIONS = (Field(spellings("include_usage"), coerce.flag, False, help="a last chunk counts the stream's tokens"),)


@dataclass(frozen=True)
class Form:
    """`choices` share the songs evenly.

    `is_openai`: a message has one audio, in OpenAI's own object; else a list of the document's data URLs.
    `counts_usage`: a last chunk of a stream counts the tokens. `is_openrouter`: what OpenAI and OpenRouter do
    differently is done as OpenRouter does it.
    """

    choices: int = 1
    is_openai: bool = False
    counts_usage: bool = False
    is_openrouter: bool = False


PLAIN = Form()


def read_form(body: Mapping[str, object], fields: Fields, *, is_openrouter: bool = False) -> Form:
    """What `body` and its `fields` say of it. Errors: RequestError 400."""
    count, n = fields["batch_size"], fields["n"]
    called = fields.called("batch_size")
    is_openai = read_openai_audio(body)["format"] is not None
    if n > 1 and count > 1:
        raise RequestError(400, f"n: must be 1 beside {called} above 1: n counts choices, {called} the songs of one")
    if is_openai and count > 1:
        raise RequestError(400, f"{called}: must be 1 with audio.format: a choice has one song then; n makes several")
    options = read_fields(OPTIONS, (Level(object_at(body, *STREAM_OPTIONS), "stream_options."),))
    return Form(n, is_openai, options["include_usage"], is_openrouter)
