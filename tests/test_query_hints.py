"""A wish in plain words: the language it names, and whether it asks for no voice."""

import pytest

from frontend.musicality import LANGUAGES
from frontend.native.hints import _NAMES, hints

ENGLISH = {
    "en": "English", "zh": "Chinese", "yue": "Cantonese", "ja": "Japanese", "ko": "Korean", "es": "Spanish",
    "fr": "French", "de": "German", "it": "Italian", "pt": "Portuguese", "ru": "Russian", "ar": "Arabic",
    "hi": "Hindi", "bn": "Bengali", "tr": "Turkish", "vi": "Vietnamese", "th": "Thai", "id": "Indonesian",
    "pl": "Polish", "nl": "Dutch", "uk": "Ukrainian", "sv": "Swedish",
}
NATIVE = {
    "zh": ("一首中文歌", "普通话流行", "Mandarin pop"), "yue": ("粤语经典", "廣東話"), "ja": ("日本語の歌", "日语摇滚"),
    "ko": ("한국어로 부른 노래", "韩语"), "es": ("una canción en español", "西班牙语"),
    "fr": ("chanson en Français", "法语"), "de": ("ein Lied auf Deutsch", "德语"), "it": ("una ballata in italiano",),
    "pt": ("em português", "葡萄牙语"), "ru": ("песня на русском языке", "俄语"),
    "ar": ("أغنية بالعربية",), "hi": ("हिन्दी गीत",), "tr": ("Türkçe pop",),
    "bn": ("বাংলা গান", "一首适合安静夜晚的柔和孟加拉情歌"), "vi": ("bài hát tiếng Việt",), "th": ("เพลงไทย",),
    "id": ("lagu bahasa Indonesia",), "pl": ("piosenka po polsku, Polski rap",), "uk": ("українською",),
}


def test_the_languages_are_those_that_the_models_know():
    assert set(_NAMES) == set(ENGLISH)
    assert set(_NAMES) < set(LANGUAGES)


@pytest.mark.parametrize(("code", "name"), ENGLISH.items())
def test_english_names(code, name):
    for query in (f"a soft {name} love song", name.upper(), f"{name.lower()}, slow", f"sung in {name}."):
        assert hints(query).language == code


@pytest.mark.parametrize(("code", "query"), [(code, query) for code, all_of in NATIVE.items() for query in all_of])
def test_native_and_chinese_names(code, query):
    assert hints(query).language == code


@pytest.mark.parametrize("form", [
    "a song ({})", "[{}] rock", "pop '{}'", 'sing in "{}"', "language: {}", "lang={}, pop", "{}", " {} ",
    "（{}）", "语言：{}",
])
def test_codes_when_delimited(form):
    for code in ENGLISH:
        assert hints(form.format(code)).language == code
        assert hints(form.format(code.upper())).language == code


@pytest.mark.parametrize("query", [
    "", "a song about the sea", "make it happy, no drums", "es de it no hi pt", "Frenchman's walk", "a thaiti beach",
    "mathematics (itx)", "Spanish guitar and french horns", "日本的樱花", "something [verse] like that",
    "languages: many",
])
def test_words_that_name_no_language(query):
    assert hints(query).language is None


@pytest.mark.parametrize(("query", "code"), [
    ("a Japanese song with an English chorus", "ja"), ("English verses, (ja) chorus", "en"),
    ("Spanish guitar, sung in Italian", "it"), ("粤语 and English", "yue"),
])
def test_the_language_that_is_named_first_wins(query, code):
    assert hints(query).language == code


@pytest.mark.parametrize("query", [
    "an Instrumental for studying", "instrumental", "pure music for sleep", "Pure Instrument piece",
    "a long piano solo", "Solo", "violin SOLO  ", "一首安静的纯音乐",
])
def test_no_voice(query):
    assert hints(query).instrumental


@pytest.mark.parametrize("query", [
    "", "a love song", "solo artist sings", "with a guitar solo in the middle", "piccolosolo", "pure love",
    "instruments",
])
def test_a_voice(query):
    assert not hints(query).instrumental
