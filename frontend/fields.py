"""Fields of a request: their names, their readers, and the look-up that all bodies share.

Names are tried in order and the first one that is not null wins; an outer level of the body beats an inner one, field
by field. Unknown names are ignored; null and blank text mean the default.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Fields:
    """A read request: `values` by canonical name; `sent` maps the fields that the client set to the name it used."""

    values: Mapping[str, Any]
    sent: Mapping[str, str] = field(default_factory=dict)

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
    """The blank-separated `names`, and the camelCase of the first."""
    listed = names.split()
    if camel(listed[0]) not in listed:
        listed.append(camel(listed[0]))
    return tuple(listed)


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
        for name in entry.names:
            if level.values.get(name) is not None:
                return level.path + name, level.values[name]
    return entry.name, None
