"""Fields of a request: their names, their readers, and the look-up that all bodies share.

Names are tried in order and the first one that is not null wins; an outer level of the body beats an inner one, field
by field. Unknown names are ignored; null and blank text mean the default.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .coerce import Reader
from .errors import RequestError


@dataclass(frozen=True)
class Field:
    """One field; `names` in lookup order, the first is canonical; `nested` fields are looked up in every level.

    `help` is what the documentation says of it.
    """

    names: tuple[str, ...]
    read: Reader
    default: Any
    nested: bool = False
    help: str = ""

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def also(self) -> tuple[str, ...]:
        """The other names, without those that are the camelCase of one."""
        camels = {camel(name) for name in self.names if camel(name) != name}
        return tuple(name for name in self.names[1:] if name not in camels)


@dataclass(frozen=True)
class Fields:
    """A read request: `values` by canonical name; `sent` maps the fields that the client set to the name it used.

    `unbuilt` are the names of fields that it set and that are not built.
    """

    values: Mapping[str, Any]
    sent: Mapping[str, str] = field(default_factory=dict)
    unbuilt: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def called(self, name: str) -> str:
        """The name to use in an error."""
        return self.sent.get(name, name)


@dataclass(frozen=True)
class Level:
    """A part of a body that holds fields; `path` goes before their names in errors."""

    values: Mapping[str, object]
    path: str = ""


def camel(name: str) -> str:
    """camelCase of a snake_case name."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def spellings(names: str) -> tuple[str, ...]:
    """The blank-separated `names`, then the camelCase of those that have it nowhere among them."""
    listed = names.split()
    return tuple(dict.fromkeys((*listed, *map(camel, listed))))


def first_of(names: Sequence[str], values: Mapping[str, object]) -> tuple[str, object]:
    """The first of `names` whose value is not null, with that value; the first one with None when all are."""
    return next(((name, values[name]) for name in names if values.get(name) is not None), (names[0], None))


def object_in(value: object) -> Mapping[str, object]:
    """An object, or the one that is the JSON text `value`; anything else is ignored, as in the reference."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def read_fields(table: Iterable[Field], levels: Sequence[Level]) -> Fields:
    """Every field of `table`; a value outside its range is a 400 that names the field and the range."""
    values: dict[str, Any] = {}
    sent: dict[str, str] = {}
    for entry in table:
        name, value = _look_up(entry, levels)
        values[entry.name] = entry.default
        if value is None or (isinstance(value, str) and not value.strip()) or value == []:
            continue
        sent[entry.name] = name
        try:
            values[entry.name] = entry.read(value)
        except ValueError as error:
            raise RequestError(400, f"{name}: {error}") from None
    return Fields(values, sent)


def _look_up(entry: Field, levels: Sequence[Level]) -> tuple[str, object]:
    for level in levels if entry.nested else levels[:1]:
        name, value = first_of(entry.names, level.values)
        if value is not None:
            return level.path + name, value
    return entry.name, None
