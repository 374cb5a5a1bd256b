"""Musical metadata in the spelling the models know: keys, time signatures, languages, tracks."""

from __future__ import annotations

import re

# ISO 639-1 codes and yue, as the text encoder's prompt was trained with, each with its English names.
_NAMES = {
    "ar": "arabic", "az": "azerbaijani", "bg": "bulgarian", "bn": "bengali, bangla", "ca": "catalan", "cs": "czech",
    "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish, castilian", "fa": "persian, farsi",
    "fi": "finnish", "fr": "french", "he": "hebrew", "hi": "hindi", "hr": "croatian",
    "ht": "haitian creole, haitian", "hu": "hungarian", "id": "indonesian", "is": "icelandic", "it": "italian",
    "ja": "japanese", "ko": "korean", "la": "latin", "lt": "lithuanian", "ms": "malay", "ne": "nepali",
    "nl": "dutch, flemish", "no": "norwegian", "pa": "punjabi, panjabi", "pl": "polish", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "sa": "sanskrit", "sk": "slovak", "sr": "serbian", "sv": "swedish",
    "sw": "swahili", "ta": "tamil", "te": "telugu", "th": "thai", "tl": "tagalog, filipino", "tr": "turkish",
    "uk": "ukrainian", "ur": "urdu", "vi": "vietnamese", "yue": "cantonese", "zh": "chinese, mandarin",
}
LANGUAGES = (*_NAMES, "unknown")  # which leaves the language open
# Other codes of the same languages, as browsers and phones have them.
_OTHER_CODES = {"nb": "no", "nn": "no", "fil": "tl", "iw": "he", "cmn": "zh", "zh-yue": "yue", "zh-cmn": "zh"}
_LANGUAGE = {name: code for code, names in _NAMES.items() for name in names.split(", ")} | _OTHER_CODES | {
    code: code for code in LANGUAGES}
_SUBTAGS = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8})+")
# The tracks that lego, extract and complete were trained on.
TRACKS = ("woodwinds", "brass", "fx", "synth", "strings", "percussion", "keyboard", "guitar", "bass", "drums",
          "backing_vocals", "vocals")
_KEY = re.compile(r"([A-Ga-g])([#b♯♭]?)\s*(major|maj|minor|min|m|)", re.IGNORECASE)
# Upstream's chat API writes 6/8 as 6/4.
_TIME = {"2": "2", "3": "3", "4": "4", "6": "6", "2/4": "2", "3/4": "3", "4/4": "4", "6/8": "6", "6/4": "6"}
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
    """A code of LANGUAGES from it, from a tag with subtags (`zh-CN`, `pt_BR`) or an English name; ValueError otherwise.

    Of a tag the longest part that names a language counts.
    """
    tag = " ".join(text.lower().split()).replace("_", "-")
    code = _LANGUAGE.get(tag)
    while code is None and _SUBTAGS.fullmatch(tag):
        tag = tag.rpartition("-")[0]
        code = _LANGUAGE.get(tag)
    if code is None:
        raise ValueError(f"must be one of {', '.join(LANGUAGES)}, or its English name")
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
