"""What a request asks of its completion: the `acestep` object among vLLM's `extra_args`, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast
from unicodedata import is_normalized

from lm_guidance import fields

Role = Literal["conditional", "unconditional", "alone", "cancel", "ask"]
ROLES = ("conditional", "unconditional", "alone", "cancel", "ask")
PAIR_ROLES = ("conditional", "unconditional")
SONG_ROLES = ("cancel", "ask")  # about a song's rows, no row themselves
SEED_MAX = 2**32 - 1
CODES_MAX = 5 * fields.DURATION_MAX


@dataclass(frozen=True)
class Sample:
    """How a token is picked. Temperature 0: the best one; top_k 0 and top_p 1 or more: off."""

    temperature: float
    top_k: int
    top_p: float
    seed: int
    purpose: str


@dataclass(frozen=True)
class Codes:
    """Exactly `count` audio codes, then the end."""

    count: int


@dataclass(frozen=True)
class Block:
    """A metadata block; `fields` in order, each with the value to force in or None where the LM chooses.

    `caption_max` and `text_max` count tokens, `duration_max` seconds; free text follows the block if `text` is set.
    """

    fields: tuple[tuple[str, str | None], ...]
    duration_max: int
    caption_max: int
    text: bool
    text_max: int


@dataclass(frozen=True)
class RowSpec:
    """One request. `pair` and `cfg_scale` belong to the halves of a guided pair; cancel and ask have the song alone."""

    song: str
    role: Role
    pair: str | None = None
    cfg_scale: float = 1.0
    repetition_penalty: float = 1.0
    sample: Sample | None = None
    constraint: Codes | Block | None = None

    def matches(self, other: RowSpec) -> bool:
        """Whether the two are the halves of one pair: they differ in their role alone."""
        return {self.role, other.role} == set(PAIR_ROLES) and replace(self, role=other.role) == other


def parse(mapping: object) -> RowSpec:
    """Reads the object; ValueError of one line that names the key and its range."""
    spec = _Keys("", mapping)
    song, role = spec.text("song", 256), cast(Role, spec.one_of("role", ROLES))
    if role in SONG_ROLES:
        return RowSpec(song, role)
    paired = role in PAIR_ROLES
    if not paired and (spec.has("pair") or spec.has("cfg_scale")):
        raise ValueError("pair and cfg_scale: only with role conditional or unconditional")
    read = RowSpec(
        song,
        role,
        pair=spec.text("pair", 256) if paired else None,
        cfg_scale=spec.number("cfg_scale", 0, 10) if paired else 1.0,
        repetition_penalty=spec.number("repetition_penalty", 0.5, 2),
        sample=_sample(spec.keys("sample")),
        constraint=_constraint(spec),
    )
    spec.nothing_else()
    return read


def _sample(sample: _Keys) -> Sample:
    read = Sample(
        temperature=sample.number("temperature", 0, 2),
        top_k=sample.integer("top_k", 0, 2**31 - 1),
        top_p=sample.number("top_p", 0, 2**31 - 1),
        seed=sample.integer("seed", 0, SEED_MAX),
        purpose=sample.text("purpose", 64),
    )
    if read.top_p == 0:
        raise ValueError("sample.top_p: above 0 (1 or more: off)")
    sample.nothing_else()
    return read


def _constraint(spec: _Keys) -> Codes | Block | None:
    if spec.value("constraint") is None:
        return None
    constraint = spec.keys("constraint")
    if constraint.has("codes") == constraint.has("block"):
        raise ValueError("constraint: null, codes or block")
    if constraint.has("codes"):
        read: Codes | Block = Codes(constraint.integer("codes", 1, CODES_MAX))
    else:
        read = _block(constraint.keys("block"))
    constraint.nothing_else()
    return read


def _block(block: _Keys) -> Block:
    read = Block(
        fields=_fields(block.value("fields")),
        duration_max=block.integer("duration_max", fields.DURATION_MIN, fields.DURATION_MAX),
        caption_max=block.integer("caption_max", 8, 4096),
        text=block.one_of("then", ("end", "text")) == "text",
        text_max=block.integer("text_max", 8, 32768),
    )
    block.nothing_else()
    return read


def _fields(value: object) -> tuple[tuple[str, str | None], ...]:
    where = "constraint.block.fields"
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{where}: a list of [name, value or null]")
    read: list[tuple[str, str | None]] = []
    for entry in value:
        if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) != 2:
            raise ValueError(f"{where}: a list of [name, value or null]")
        name, forced = entry
        if name not in fields.NAMES or any(name == other for other, _ in read):
            raise ValueError(f"{where}: each of {', '.join(fields.NAMES)} at most once")
        if forced is not None and name in fields.FREE:
            raise ValueError(f"{where}: {name} is the LM's to write (null) or left out")
        if forced is not None and not _is_plain(forced):
            raise ValueError(f"{where}: {name} takes null or 1 to 64 printable characters, none of < and `")
        read.append((name, forced))
    return tuple(read)


def _is_plain(value: object) -> bool:
    """Whether it can stand in a line of the block and mean nothing but itself."""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= 64
        and value.isprintable()
        and is_normalized("NFC", value)  # as Qwen's tokenizer writes it
        and value == value.strip()
        and not set(value) & set("<`")
    )


class _Keys:
    """The keys of one object; what is missing, wrong or unknown is a ValueError that names it."""

    def __init__(self, path: str, value: object) -> None:
        if not isinstance(value, Mapping):
            raise ValueError(f"{path or 'acestep'}: an object")
        self._path, self._mapping, self._seen = path, value, set[str]()

    def has(self, key: str) -> bool:
        return key in self._mapping

    def value(self, key: str) -> object:
        self._seen.add(key)
        if key not in self._mapping:
            raise ValueError(f"{self._name(key)}: missing")
        return self._mapping[key]

    def keys(self, key: str) -> _Keys:
        return _Keys(self._name(key), self.value(key))

    def number(self, key: str, low: float, high: float) -> float:
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"{self._name(key)}: a number from {low:g} to {high:g}")
        return float(value)

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{self._name(key)}: an integer from {low} to {high}")
        return value

    def text(self, key: str, length: int) -> str:
        value = self.value(key)
        if not isinstance(value, str) or not 1 <= len(value) <= length:
            raise ValueError(f"{self._name(key)}: text of 1 to {length} characters")
        return value

    def one_of(self, key: str, values: Sequence[str]) -> str:
        value = self.value(key)
        if not isinstance(value, str) or value not in values:
            raise ValueError(f"{self._name(key)}: one of {', '.join(values)}")
        return value

    def nothing_else(self) -> None:
        unknown = sorted(str(key) for key in self._mapping if key not in self._seen)
        if unknown:
            raise ValueError(f"{self._name(unknown[0])}: no such key")

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key
