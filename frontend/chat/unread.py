"""What a client says beyond all that is read: it changes nothing, and the answer names it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from frontend.fields import Fields, is_blank
from frontend.unbuilt import NAMES as UNBUILT
from frontend.unread import listed

from .fields import AUDIO, CONFIGS, REFUSED, TABLE, given
from .form import OPTIONS, STREAM_OPTIONS
from .messages import Message

_MODALITIES = "modalities"
_UNSERVED = UNBUILT | {name for entry in REFUSED for name in entry.names}
_NESTED = frozenset(name for entry in TABLE if entry.nested for name in entry.names) | _UNSERVED
# A flat `format` is read as nothing.
_FLAT = (frozenset(name for entry in TABLE for name in entry.names) | _UNSERVED | frozenset(STREAM_OPTIONS)
         | {"messages", "audio", *CONFIGS, _MODALITIES}) - {"format"}
_OBJECTS: tuple[tuple[tuple[str, ...], Collection[str]], ...] = (
    (CONFIGS, _NESTED), (("audio",), {name for entry in AUDIO for name in entry.names}),
    (STREAM_OPTIONS, {name for entry in OPTIONS for name in entry.names}),
)


def unread(body: Mapping[str, object], fields: Fields, message: Message) -> tuple[str, ...]:
    """A line for each kind of thing that was sent and is not read; null and what is empty was not sent."""
    return tuple(_lines(body, fields, message))


def _lines(body: Mapping[str, object], fields: Fields, message: Message) -> Iterator[str]:
    options = next((name for name in STREAM_OPTIONS if _is_sent(body.get(name))), None)
    if options and not fields["stream"]:
        yield f"{options} was not used: the answer is no stream"
    wanted = body.get(_MODALITIES)
    if _is_sent(wanted) and not (isinstance(wanted, list) and "audio" in wanted):
        yield f"{_MODALITIES} was not used: every answer has text and audio"
    if names := list(_strangers(body)):
        yield f"not used, because nothing here has such a name: {listed(names)}"
    if message.others:
        yield f"messages: parts of another type than text and input_audio were not used: {listed(message.others)}"
    if message.is_not_alone:
        yield "messages: the last one of a user was used, no other"


def _strangers(body: Mapping[str, object]) -> Iterator[str]:
    """The names that no field has, with the path to them."""
    yield from (name for name, value in body.items() if name not in _FLAT and _is_sent(value))
    for names, known in _OBJECTS:
        sent = given(body, *names)
        for name in sent[:1]:
            inner = body[name]
            assert isinstance(inner, Mapping), "another value was refused"
            yield from (f"{names[0]}.{part}" for part, value in inner.items() if _is_sent(value) and part not in known)
        yield from sent[1:]


def _is_sent(value: object) -> bool:
    """Whether a client means something by a value; false and 0 are something."""
    return not is_blank(value) and value != {}
