"""What a setting is: a row of the table, and how its text becomes a value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from frontend import origins

Kind = Literal["text", "whole", "number", "path", "choice", "origins"]


class SettingsError(ValueError):
    """A setting has a value it cannot have; the text is one line that names the setting and its range."""


@dataclass(frozen=True)
class Setting:
    """One row: `name` is the environment variable, `attribute` the field of `Settings` and, dashed, the flag."""

    attribute: str
    name: str
    kind: Kind
    default: Any
    help: str
    aliases: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        return "--" + self.attribute.replace("_", "-")

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    def parse(self, text: str, name: str) -> Any:
        """The value of `text`; SettingsError names `name` (the variable or flag that the user wrote)."""
        if self.kind == "text":
            return text
        if self.kind == "path":
            return Path(text).expanduser()
        if self.kind == "choice":
            if text.lower() not in self.choices:
                raise SettingsError(f"{name}: must be one of {', '.join(self.choices)}, not {text!r}")
            return text.lower()
        if self.kind == "origins":
            try:
                origins.parse(text)
            except ValueError as error:
                raise SettingsError(f"{name}: {error}") from None
            return text
        noun = "a whole number" if self.kind == "whole" else "a number"
        try:
            value = int(text) if self.kind == "whole" else float(text)
        except ValueError:
            raise SettingsError(f"{name}: must be {noun}{self.range_text()}, not {text!r}") from None
        if not (self.low is None or value >= self.low) or not (self.high is None or value <= self.high):
            raise SettingsError(f"{name}: must be {noun}{self.range_text()}, not {text!r}")
        return value

    def range_text(self) -> str:
        """" between 1 and 65535", " from 1", or nothing."""
        if self.low is not None and self.high is not None:
            return f" between {self.low:g} and {self.high:g}"
        return f" from {self.low:g}" if self.low is not None else ""


@dataclass(frozen=True)
class Hint:
    """A documented variable that changes nothing in this service; setting it gives a warning that says why."""

    name: str
    why: str
