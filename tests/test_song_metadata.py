"""Keys, time signatures, beats, lengths and languages as people and programs write them; no Triton needed."""

# mypy: allow-untyped-calls

import pytest

from frontend.musicality import LANGUAGES
from tests.test_native_fields import refusal, song


@pytest.mark.parametrize(("sent", "key"), [
    ("C Major", "C major"), ("c", "C major"), ("Am", "A minor"), ("F#m", "F# minor"), ("bb minor", "Bb minor"),
    ("E♭maj", "E♭ major"), ("CM", "C major"), ("G# MINOR", "G# minor"), ("B", "B major"), (" d min ", "D minor"),
])
def test_key_scales(sent, key):
    assert song(keyscale=sent)["key_scale"] == key


@pytest.mark.parametrize(("sent", "digit"), [
    (4, "4"), ("4/4", "4"), ("6/8", "6"), (3.0, "3"), ("2", "2"), (" 3 / 4 ", "3"), ("6/4", "6"), ("4.0", "4"),
])
def test_time_signatures(sent, digit):
    assert song(timesignature=sent)["time_signature"] == digit


@pytest.mark.parametrize("sent", ["120 BPM", "120bpm", " 120  Bpm ", "120.0", 120.0, "120.0 bpm", "120"])
def test_beats_may_have_their_unit(sent):
    assert song(bpm=sent)["bpm"] == 120


@pytest.mark.parametrize("sent", ["bpm", "BPM 120", "120 bpms", "fast", "120 s", "1e400 bpm", "nan bpm", "29 BPM"])
def test_what_are_no_beats(sent):
    assert refusal(bpm=sent).startswith("bpm: must be ")


@pytest.mark.parametrize("sent", ["30", "30s", "30.0s", " 30 S ", "30 sec", "30 secs", "30 second", "30 seconds"])
def test_lengths_may_have_their_unit(sent):
    assert song(duration=sent)["duration"] == 30.0


@pytest.mark.parametrize("sent", ["s", "30 m", "0:30", "30 bpm", "30 secondss", "nan s", "inf", "601 s", "5s", "9.99"])
def test_what_is_no_length(sent):
    assert refusal(duration=sent).startswith("duration: must be ")


@pytest.mark.parametrize(("sent", "code"), [
    ("zh-CN", "zh"), ("pt_BR", "pt"), ("ZH_hans_cn", "zh"), ("zh-yue-HK", "yue"), ("yue-Hant", "yue"),
    (" en-US ", "en"),
    ("es-419", "es"), ("nb-NO", "no"), ("fil", "tl"), ("English", "en"), ("CHINESE", "zh"), ("mandarin", "zh"),
    ("Cantonese", "yue"), ("Haitian  Creole", "ht"), ("filipino", "tl"), ("Unknown ", "unknown"),
])
def test_languages_by_tag_and_by_name(sent, code):
    assert song(vocal_language=sent)["vocal_language"] == code


NAMES = (
    "arabic azerbaijani bulgarian bengali catalan czech danish german greek english spanish persian finnish french"
    " hebrew hindi croatian haitian hungarian indonesian icelandic italian japanese korean latin lithuanian malay"
    " nepali dutch norwegian punjabi polish portuguese romanian russian sanskrit slovak serbian swedish swahili tamil"
    " telugu thai tagalog turkish ukrainian urdu vietnamese cantonese chinese"
)


def test_every_language_has_a_name():
    assert [song(vocal_language=name)["vocal_language"] for name in NAMES.split()] == [*LANGUAGES[:-1]]


@pytest.mark.parametrize("sent", ["klingon", "xx-EN", "zh-", "-zh", "english-US", "unknown-US", "en US", 5, "e" * 100])
def test_what_is_no_language(sent):
    assert refusal(vocal_language=sent).startswith("vocal_language: must ")
