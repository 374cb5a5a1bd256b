"""The error that ends a command with one line for its user."""

from __future__ import annotations


class Refusal(Exception):
    """Something the user can put right; `str()` is one line that says what is wrong and what to do about it."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(" ".join(text.split()))
        self.exit_code = exit_code
