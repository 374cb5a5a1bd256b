"""From what is asked of the LM to scripts that fit it: prompts rendered, cut to its length, tokens bounded."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..request import SongRequest
from . import prompts
from .block import Sheet, write_block
from .facts import Lm
from .prompts import Brief, Prompt
from .writer import Script

CODES_PER_SECOND = 5
# Field names, numbers, keys and line ends of a block come on top of its free lines; names of the longest take 40.
_BLOCK_TOKENS = 128
_FREE_LINES = ("caption", "genres")
Ask = Callable[[Brief], Prompt]
Values = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Form:
    """The block that is asked for: its fields in order, forced values or None; `text` lets lyrics follow."""

    fields: Values
    text: bool = False


class Desk:
    """Prepares what one song has the LM write."""

    def __init__(self, lm: Lm, request: SongRequest, seed: int) -> None:
        self._lm = lm
        self._seed = seed
        self._constrained = request.constrained_decoding
        self._negative = lm.tokenizer.plain(request.lm_negative_prompt)
        self.notes: list[str] = []

    def metadata(self, brief: Brief, form: Form) -> Script:
        """The metadata of a song. It is not guided: guidance cut captions short (upstream a188f4c, 2026-03-10)."""
        return self._written("metadata", brief, form, prompts.metadata_prompt)

    def sample(self, query: str, instrumental: bool, form: Form) -> Script:
        """A whole song from a wish."""
        return self._written("sample", Brief(query, ""), form, lambda b: prompts.sample_prompt(b.caption, instrumental))

    def format(self, brief: Brief, form: Form) -> Script:
        """Caption and lyrics, reworked."""
        return self._written("format", brief, form, prompts.format_prompt)

    def understand(self, codes: tuple[int, ...], form: Form) -> Script:
        """What codes sound like; codes past what fits are left out."""
        room = self._lm.max_model_len - self._length(form) - _BLOCK_TOKENS
        if len(codes) > room:
            self.notes.append(f"only the first {room / CODES_PER_SECOND:g} seconds were heard: the LM holds no more")
        prompt = self._render(prompts.understand_prompt(codes[:room]))
        return Script("understand", self._seed, prompt, None, self._length(form), self._block(form))

    def codes(self, brief: Brief, sheet: Sheet, seed: int, count: int) -> Script:
        """The codes of one item, guided."""
        block = write_block(sheet)
        limit = self._lm.max_model_len - count - 1
        prompt = self._fit(brief, limit, lambda b: prompts.codes_prompt(b, block))
        negative = self._fit_negative(limit)
        return Script("codes", seed, prompt, negative, count + 1, {"codes": count} if self._constrained else None)

    def plain(self, text: str) -> str:
        """The user's text without tokens of the LM's own."""
        return self._lm.tokenizer.plain(text)

    def _written(self, purpose: str, brief: Brief, form: Form, ask: Ask) -> Script:
        length = self._length(form)
        prompt = self._fit(brief, self._lm.max_model_len - length, ask)
        return Script(purpose, self._seed, prompt, None, length, self._block(form))

    def _length(self, form: Form) -> int:
        """Tokens that the block may take, and the text after it."""
        lines = sum(self._lm.caption_max for name, value in form.fields if name in _FREE_LINES and value is None)
        return _BLOCK_TOKENS + lines + (self._lm.text_max if form.text else 0)

    def _block(self, form: Form) -> dict[str, object] | None:
        if not self._constrained:
            return None
        return {"block": {
            "fields": [list(field) for field in form.fields], "duration_max": self._lm.duration_max,
            "caption_max": self._lm.caption_max, "then": "text" if form.text else "end", "text_max": self._lm.text_max,
        }}

    def _fit(self, brief: Brief, limit: int, ask: Ask) -> str:
        """The prompt, with as much of the lyrics, then of the caption, as the LM has room for."""
        before = brief
        while True:
            rendered = self._render(ask(brief))
            excess = self._lm.tokenizer.count(rendered) - limit
            name = "lyrics" if brief.lyrics else "caption"
            if excess <= 0 or not getattr(brief, name):
                break
            brief = replace(brief, **{name: self._lm.tokenizer.without_last(getattr(brief, name), excess)})
        for name in ("lyrics", "caption"):
            lost = len(getattr(before, name)) - len(getattr(brief, name))
            if lost:
                self._note(f"the LM saw the {name} without the last {lost} characters")
        return rendered

    def _fit_negative(self, limit: int) -> str:
        """The unconditional row, with as much of the negative prompt as the LM has room for."""
        negative = self._negative
        rendered = self._render(prompts.codes_negative(negative))
        while (excess := self._lm.tokenizer.count(rendered) - limit) > 0 and negative:
            negative = self._lm.tokenizer.without_last(negative, excess)
            rendered = self._render(prompts.codes_negative(negative))
            self._note("the LM saw the negative prompt without its end")
        return rendered

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _render(self, prompt: Prompt) -> str:
        return self._lm.template.render(prompt.turns, prompt.begun)
