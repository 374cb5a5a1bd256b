"""The metadata block that the LM writes and reads: `<think>`, YAML lines, `</think>` (docs/lm.md)."""

import re
from dataclasses import dataclass, fields, replace
from typing import Any

import yaml

BPM, SECONDS = (30, 300), (10, 600)
SIGNATURES = ("2", "3", "4", "6")
_LANGUAGES = (
    "ar az bg bn ca cs da de el en es fa fi fr he hi hr ht hu id is it ja ko la lt ms ne nl no pa pl pt ro ru sa sk sr"
    " sv sw ta te th tl tr uk ur vi yue zh unknown"
)
LANGUAGES = frozenset(_LANGUAGES.split())
EMPTY_BLOCK = "<think>\n\n</think>"
_BLOCK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_FIELD = re.compile(r"([A-Za-z_]+):(.*)")
_LYRIC_HEADER = re.compile(r"^\s*#\s*Lyri[c|cs]?\s*\n", re.IGNORECASE)
_CODE = re.compile(r"<\|audio_code_(\d+)\|>")
_CODES = 64_000
_KEY = re.compile(r"([A-Ga-g])\s*([#b♯♭]?)\s+(major|minor)", re.IGNORECASE)


@dataclass(frozen=True)
class Sheet:
    """Metadata of a song as the LM knows it; None is not known. `duration` in whole seconds."""

    bpm: int | None = None
    caption: str | None = None
    duration: int | None = None
    genres: str | None = None
    keyscale: str | None = None
    language: str | None = None
    timesignature: str | None = None
    lyrics: str | None = None

    def names(self) -> tuple[str, ...]:
        """Names of the fields that are known."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)


def write_block(sheet: Sheet) -> str:
    """The block of a sheet as the LM was trained on it: PyYAML's own layout, keys in alphabetical order."""
    known: dict[str, Any] = {}
    for name in ("bpm", "caption", "duration", "keyscale", "language", "timesignature"):
        value = getattr(sheet, name)
        if value is not None:
            known[name] = int(value) if isinstance(value, str) and value.isdigit() else value
    text = yaml.dump(known, allow_unicode=True, sort_keys=True).strip() if known else ""
    return f"<think>\n{text}\n</think>" if text else EMPTY_BLOCK


def read_block(text: str) -> Sheet:
    """What an answer says, whatever its shape: fields that are missing or impossible are None."""
    found = _BLOCK.search(text)
    body = found.group(1) if found else _CODE.split(text, maxsplit=1)[0]
    lines: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in body.splitlines():
        if line.startswith("<") or not line.strip():
            continue
        if line[0] in " \t":
            if current is not None:
                current.append(line.strip())
        elif field := _FIELD.match(line):
            current = lines.setdefault(field.group(1).lower(), [])
            current[:] = [field.group(2).strip()]
    values = {name: _unquote(" ".join(part for part in parts if part)) for name, parts in lines.items()}
    sheet = Sheet(
        bpm=_whole(values.get("bpm"), BPM),
        caption=values.get("caption") or None,
        duration=_whole(values.get("duration"), SECONDS),
        genres=values.get("genres") or None,
        keyscale=read_key(values.get("keyscale", "")),
        language=language if (language := values.get("language", "").lower()) in LANGUAGES else None,
        timesignature=_signature(values.get("timesignature", "")),
    )
    return replace(sheet, lyrics=_lyrics(text[found.end():])) if found else sheet


def read_codes(text: str) -> tuple[int, ...]:
    """The audio codes of an answer; a checkpoint's spare tokens beyond the 64,000 are the last code, as upstream."""
    return tuple(min(int(code), _CODES - 1) for code in _CODE.findall(text))


def count_codes(text: str) -> int:
    """How many codes a piece of an answer holds; a code is one token and is never cut."""
    return text.count("<|audio_code_")


def _lyrics(text: str) -> str | None:
    text = _CODE.sub("", text).replace("<|im_end|>", "").strip()
    return _LYRIC_HEADER.sub("", text).strip() or None


def _unquote(value: str) -> str:
    """YAML's quotes, which the LM learned to write, are not part of a value."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        try:
            plain = yaml.safe_load(value)
        except yaml.YAMLError:
            return value[1:-1]
        return plain if isinstance(plain, str) else value[1:-1]
    return value


def _whole(text: str | None, bounds: tuple[int, int]) -> int | None:
    """A whole number within bounds; the LM may write a unit after it."""
    found = re.match(r"\d{1,4}(?!\d)", text or "")
    return int(found[0]) if found and bounds[0] <= int(found[0]) <= bounds[1] else None


def read_key(text: str) -> str | None:
    """The key in the LM's spelling, None if it is none of the 70."""
    found = _KEY.fullmatch(text.strip())
    return f"{found[1].upper()}{found[2]} {found[3].lower()}" if found else None


def _signature(text: str) -> str | None:
    digit = text.strip().partition("/")[0]
    return digit if digit in SIGNATURES else None
