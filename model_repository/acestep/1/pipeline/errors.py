"""The one error of the pipeline: a status and one line."""

import re
from typing import Final

INVALID: Final = 400
CANCELLED: Final = 499
FAULT: Final = 500
NOT_READY: Final = 503


class SongError(Exception):
    """A song cannot be made.

    `status` says whose turn it is: 400 the caller's (the text begins with the field's name), 499 the caller left,
    500 ours, 503 a part is missing or starting and the same request may be sent again.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    def line(self) -> str:
        """The error as Triton carries it: streaming clients lose Triton's own code, so the text begins with ours."""
        return f"[{self.status}] {' '.join(str(self).split())}"


def invalid(field: str, rule: str) -> SongError:
    """The error for a field that breaks a rule."""
    return SongError(INVALID, f"{field}: {rule}")


# What Triton 2.51 says of a model whose process died, that is loading, or that is not there.
_AWAY = ("is not healthy", "not ready", "unknown model", "is not found", "unavailable", "unloading")

_FOLDERS = re.compile(r"(?:(?<=file://)|(?<![\w/]))/(?:[^\s/:'\"]+/)+")
_LONGEST = 500


def is_away(text: str) -> bool:
    """Whether Triton's error says that a model is not there, rather than that it failed."""
    return any(word in text.lower() for word in _AWAY)


def broken(model: str, text: str) -> SongError:
    """The error of a call of another model, by what Triton says: 503 when the model is away, 500 when it failed.

    It goes to clients: folders of this machine are left out, and it is no longer than a line may be.
    """
    said = _FOLDERS.sub("", " ".join(text.split()))[:_LONGEST]
    away = is_away(text)
    return SongError(NOT_READY if away else FAULT, f"model {model} {'is not available' if away else 'failed'}: {said}")
