"""What a completion may hold next, given what it holds already."""

from __future__ import annotations

from lm_guidance.vocabulary import Vocabulary


class Grammar:
    """The constraints compiled for one vocabulary; made once in a process, shared by all its rows."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
