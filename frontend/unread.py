"""What a body holds and no field reads: names that no field has, and fields that stand a second time elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from .fields import Field, Level, is_blank, places
from .metadata import is_word_for_nothing

MOST_NAMED = 20
_SHOWN = 80  # characters of a name


def unread(
    table: Sequence[Field], levels: Sequence[Level], outside: Collection[str], everywhere: Collection[str] = ()
) -> Iterator[str]:
    """A line for all names that no field of `table` has in their level, and one for each place that does not count.

    Others read the names `outside` in the first level and those `everywhere`. What says nothing is not named.
    """
    strangers = [level.label(name) for i, level in enumerate(levels) for name, value in level.values.items()
                 if not (name in _names(table, nested=i > 0) or name in everywhere or (i == 0 and name in outside)
                         or _says_nothing(value))]
    if strangers:
        yield f"not used, because no field is called so: {listed(strangers)}"
    for entry in table:
        found = list(places(entry, levels))
        for level, name, value in found[1:]:
            first, winner, counts = found[0]
            if not (_says_nothing(value) or _is_same(entry, value, counts)):
                yield f"{level.label(name)} was not used: {first.label(winner)} wins"


def listed(names: Iterable[str]) -> str:
    """Names that a client made up, as a part of one line; of many the first ones."""
    known = list(names)
    shown = [" ".join(name[: 4 * _SHOWN].split())[:_SHOWN].encode(errors="replace").decode()
             for name in known[:MOST_NAMED]]
    more = len(known) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _names(table: Sequence[Field], *, nested: bool) -> Collection[str]:
    return {name for entry in table if entry.nested or not nested for name in entry.names}


def _says_nothing(value: object) -> bool:
    return is_blank(value) or value == {} or is_word_for_nothing(value)


def _is_same(entry: Field, value: object, other: object) -> bool:
    """Whether both say the same of a field."""
    try:
        return value == other or bool(entry.read(value) == entry.read(other))
    except ValueError:
        return False
