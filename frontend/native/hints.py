"""What a wish in plain words says of the voice: its language, or that there is none (API contract 2.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Names in Latin letters are whole words of any case; the others may carry an ending or a prefix. Chinese names are
# those of a language (日语), not of a country (日本), but for the document's own example, 孟加拉情歌.
_NAMES = {
    "en": ("english", "英语|英文|英語"),
    "zh": ("chinese|mandarin|putonghua", "中文|汉语|漢語|国语|國語|普通话|普通話|华语|華語"),
    "yue": ("cantonese", "粤语|粵語|广东话|廣東話"),
    "ja": ("japanese|nihongo", "日本語|日语|日文|日語"),
    "ko": ("korean|hangul", "한국어|한국말|韩语|韩文|韓語|韓文"),
    "es": ("spanish|español|espanol|castellano", "西班牙语|西班牙文|西班牙語"),
    "fr": ("french|français|francais|française", "法语|法文|法語"),
    "de": ("german|deutsch", "德语|德文|德語"),
    "it": ("italian|italiano", "意大利语|意大利文|義大利語"),
    "pt": ("portuguese|português|portugues|brazilian", "葡萄牙语|葡萄牙文|葡萄牙語"),
    "ru": ("russian", "русск|俄语|俄文|俄語"),
    "ar": ("arabic", "العربية|عربي|阿拉伯语|阿拉伯文|阿拉伯語"),
    "hi": ("hindi", "हिन्दी|हिंदी|印地语|印地語"),
    "bn": ("bengali|bangla", "বাংলা|孟加拉"),
    "tr": ("turkish|türkçe|turkce", "土耳其语|土耳其文|土耳其語"),
    "vi": ("vietnamese|tiếng việt", "越南语|越南文|越南語"),
    "th": ("thai", "ไทย|泰语|泰文|泰語"),
    "id": ("indonesian|bahasa indonesia", "印尼语|印尼文|印尼語"),
    "pl": ("polish|polski", "波兰语|波兰文|波蘭語"),
    "nl": ("dutch|nederlands", "荷兰语|荷兰文|荷蘭語"),
    "uk": ("ukrainian", "українськ|乌克兰语|烏克蘭語"),
    "sv": ("swedish|svenska", "瑞典语|瑞典文|瑞典語"),
}
# "French horn", "Spanish guitar": an instrument says nothing of what is sung.
_INSTRUMENT = r"(?!\s+(?:horn|guitar|harp|flute|drum)s?\b)"
# A bare code is a word of running text ("it", "no", "de"): it counts in brackets or quotes, as a label, or alone.
_IN_BRACKETS = r"[(\[{<（【\"'“‘]\s*(?:CODE)\s*[)\]}>）】\"'”’]"
_AS_LABEL = r"(?:\blang(?:uage)?|语言|語言)\s*[:=：]\s*(?:CODE)(?!\w)"
_ALONE = r"^\s*(?:CODE)\s*$"
_INSTRUMENTAL = re.compile(r"instrumental|pure music|pure instrument|纯音乐|純音樂|(?:^|\s)solo\s*$")


@dataclass(frozen=True)
class Hints:
    """`language` is a code of frontend.musicality.LANGUAGES, None when none is named."""

    language: str | None
    instrumental: bool


def hints(query: str) -> Hints:
    """What `query` says; of several languages the one that is named first."""
    text = query.lower()
    named = [(found.start(), code) for code, pattern in _PATTERNS.items() if (found := pattern.search(text))]
    return Hints(min(named)[1] if named else None, _INSTRUMENTAL.search(text) is not None)


def _pattern(code: str, latin: str, native: str) -> re.Pattern[str]:
    """Every way to name the language in lower-case text."""
    codes = "|".join((_IN_BRACKETS, _AS_LABEL, _ALONE)).replace("CODE", code)
    return re.compile(rf"(?<!\w)(?:{latin})(?!\w){_INSTRUMENT}|{native}|{codes}")


_PATTERNS = {code: _pattern(code, *names) for code, names in _NAMES.items()}
