"""Fields of a request: their names, their readers, and the look-up that all bodies share.

Names are tried in order and the first one that is not null wins; an outer level of the body beats an inner one, field
by field. null and blank text mean the default, and so does what a reader calls UNSET.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .coerce import UNSET, Reader
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

    `unbuilt` are the names of fields that it set and that are not built, `notes` lines about what no field reads.
    """

    values: Mapping[str, Any]
    sent: Mapping[str, str] = field(default_factory=dict)
    unbuilt: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def called(self, name: str) -> str:
        """The name to use in an error."""
        return self.sent.get(name, name)


@dataclass(frozen=True)
class Level:
    """A part of a body that holds fields; `path` goes before their names in errors.

    `container` is what goes before them where another part may hold the same name; without it that is `path`.
    """

    values: Mapping[str, object]
    path: str = ""
    container: str = ""

    def label(self, name: str) -> str:
        """A name, told from the same one in other levels."""
        return (self.container or self.path) + name


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


def object_in(value: object) -> Mapping[str, object] | None:
    """An object, or the one that is the JSON text `value`; None for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def is_blank(value: object) -> bool:
    """Whether a value says nothing: null, blank text, an empty list."""
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def places(entry: Field, levels: Sequence[Level]) -> Iterator[tuple[Level, str, object]]:
    """Every place where a field stands, with its name and value there; the first one counts. null is no value."""
    for level in levels if entry.nested else levels[:1]:
        for name in entry.names:
            if level.values.get(name) is not None:
                yield level, name, level.values[name]


def read_fields(table: Iterable[Field], levels: Sequence[Level]) -> Fields:
    """Every field of `table`; a value outside its range is a 400 that names the field and the range."""
    values: dict[str, Any] = {}
    sent: dict[str, str] = {}
    for entry in table:
        values[entry.name] = entry.default
        found = next(places(entry, levels), None)
        if found is None or is_blank(found[2]):
            continue
        name = found[0].path + found[1]
        try:
            value = entry.read(found[2])
        except ValueError as error:
            raise RequestError(400, f"{name}: {error}") from None
        if value is not UNSET:
            values[entry.name], sent[entry.name] = value, name
    return Fields(values, sent)
