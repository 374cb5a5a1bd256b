"""Musical metadata in the spelling the models know: keys, time signatures, languages, tracks."""

from __future__ import annotations

import re

# ISO 639-1 codes and yue, as the text encoder's prompt was trained with; `unknown` leaves the language open.
_CODES = (
    "ar az bg bn ca cs da de el en es fa fi fr he hi hr ht hu id is it ja ko la lt ms ne nl no pa pl pt ro ru sa sk sr"
    " sv sw ta te th tl tr uk ur vi yue zh unknown"
)
LANGUAGES = tuple(_CODES.split())
# The tracks that lego, extract and complete were trained on.
TRACKS = ("woodwinds", "brass", "fx", "synth", "strings", "percussion", "keyboard", "guitar", "bass", "drums",
          "backing_vocals", "vocals")
_KEY = re.compile(r"([A-Ga-g])([#b♯♭]?)\s*(major|maj|minor|min|m|)", re.IGNORECASE)
_TIME = {"2": "2", "3": "3", "4": "4", "6": "6", "2/4": "2", "3/4": "3", "4/4": "4", "6/8": "6"}
_INSTRUMENTAL = frozenset({"[inst]", "[instrumental]"})


def key_scale(text: str) -> str:
    """`C major`, `F# minor`, ... from any case and from short forms (`Am`, `F#m`, `Cmaj`); ValueError otherwise."""
    match = _KEY.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be a note A to G, with # or b if need be, and major or minor, such as C major or F#m")
    note, accidental, mode = match.groups()
    # "CM" is the usual short form of C major, "Cm" of C minor: the one place where case matters.
    minor = mode.lower() in ("minor", "min") or mode == "m"
    return f"{note.upper()}{accidental.lower()} {'minor' if minor else 'major'}"


def time_signature(text: str) -> str:
    """`2`, `3`, `4` or `6` (6/8) from the digit or the fraction; ValueError otherwise."""
    compact = text.replace(" ", "").removesuffix(".0")
    if compact not in _TIME:
        raise ValueError("must be one of 2, 3, 4, 6 (for 2/4, 3/4, 4/4, 6/8)")
    return _TIME[compact]


def language(text: str) -> str:
    """A code of LANGUAGES in lower case; ValueError otherwise."""
    code = text.strip().lower()
    if code not in LANGUAGES:
        raise ValueError(f"must be one of {', '.join(LANGUAGES)}")
    return code


def track(text: str) -> str:
    """One of TRACKS in any case, its words apart or joined; ValueError otherwise."""
    name = "_".join(text.lower().replace("-", " ").replace("_", " ").split())
    if name not in TRACKS:
        raise ValueError(f"must be of {', '.join(TRACKS)}")
    return name


def is_instrumental(lyrics: str) -> bool:
    """Whether the lyrics are nothing but the marker of an instrumental."""
    return lyrics.strip().lower() in _INSTRUMENTAL
