"""The algorithm: the next token of a guided completion, again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.language_model import LanguageModel
from engine.rows import Rows
from lm_guidance.row import Row
from lm_guidance.sampling import Turn, choose
from lm_guidance.spec import RowSpec


def write(lm: LanguageModel, spec: RowSpec, prompts: Sequence[Sequence[int]]) -> Iterator[int]:
    """Tokens up to the one that means the end. `prompts`: the conditional one, and the unconditional one of a pair.

    A token is computed when it is asked for: whoever stops asking ends the loop.
    """
    rows = Rows(lm.model, prompts)
    completion = Row(spec, lm.grammar)
    turn = Turn(completion, conditional=0, unconditional=1 if len(prompts) == 2 else None)
    logits = rows.prefill()
    while True:
        token = int(choose(logits, [turn]))
        yield token
        if token == lm.eos:
            return
        completion.append(token)
        logits = rows.append(token)
