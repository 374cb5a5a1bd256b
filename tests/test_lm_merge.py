"""Who wins, the user or the LM, and when the LM is asked at all."""

from dataclasses import replace

import pytest

from pipeline.lm.block import Sheet
from pipeline.lm.compose import needed_for
from pipeline.lm.merge import (
    codes_sheet,
    given,
    merge_format,
    merge_metadata,
    merge_sample,
    metadata_form,
    song_form,
    wants_metadata,
    written,
)
from pipeline.request import read_song

LM = Sheet(bpm=99, caption="the LM's", duration=41, genres="pop", keyscale="A minor", language="ja", timesignature="3",
           lyrics="[Verse]\nthe LM's")
COT = {"use_cot_metas": True, "use_cot_caption": True, "use_cot_language": True}
FOUR = {"bpm": 120, "key_scale": "c Major", "time_signature": "4", "duration": 30}


def request(**fields):
    return read_song({"kind": "song", **fields})


def test_the_user_s_metadata_always_wins():
    asked = request(caption="mine", lyrics="my words", vocal_language="de", **FOUR, **COT)
    for merged in (merge_metadata(asked, LM), merge_format(asked, LM), merge_sample(asked, LM, 600)):
        kept = ("bpm", "key_scale", "time_signature", "duration", "lyrics", "vocal_language")
        assert {name: getattr(merged, name) for name in kept} == {name: getattr(asked, name) for name in kept}


def test_the_lm_fills_what_the_user_left_open():
    merged = merge_metadata(request(caption="mine", lyrics="my words", **COT), LM)
    assert (merged.bpm, merged.key_scale, merged.time_signature, merged.duration) == (99, "A minor", "3", 41)
    assert (merged.vocal_language, merged.caption, merged.lyrics) == ("ja", "the LM's", "my words")


@pytest.mark.parametrize(("flags", "caption", "language"), [
    ({"use_cot_caption": False}, "mine", "ja"), ({"use_cot_language": False}, "the LM's", None)])
def test_caption_and_language_only_when_asked_for(flags, caption, language):
    merged = merge_metadata(request(caption="mine", **(COT | flags)), LM)
    assert (merged.caption, merged.vocal_language) == (caption, language)


def test_a_rewrite_needs_words():
    assert merge_metadata(request(caption="mine", **COT), replace(LM, caption=None)).caption == "mine"


def test_format_rewrites_the_caption_and_writes_lyrics_only_where_there_are_none():
    assert merge_format(request(caption="mine", lyrics=" "), LM).lyrics == "[Verse]\nthe LM's"
    assert merge_format(request(caption="mine"), LM).caption == "the LM's"
    assert merge_format(request(caption="mine"), Sheet()) == request(caption="mine")


def test_in_a_sample_the_user_s_caption_wins_and_defaults_are_the_reference_s():
    assert merge_sample(request(caption="mine", sample_mode=True), LM, 600).caption == "mine"
    open_ended = merge_sample(request(sample_query="a waltz"), Sheet(), 600)
    assert (open_ended.bpm, open_ended.key_scale, open_ended.time_signature, open_ended.duration) == (
        120, "C major", "4", 120)
    assert open_ended.caption == "a waltz"
    assert merge_sample(request(sample_mode=True), Sheet(), 60).duration == 60


def test_written_names_what_came_from_the_lm():
    asked = request(caption="mine", bpm=120, **COT)
    assert written(asked, merge_metadata(asked, LM)) == (
        "key_scale", "time_signature", "duration", "vocal_language", "caption")


@pytest.mark.parametrize(("fields", "wanted"), [
    (COT, True),
    (COT | FOUR, False),
    (COT | FOUR | {"bpm": None}, True),
    ({"use_cot_caption": True, "use_cot_language": True}, False),
    (COT | {"task": "cover"}, False),
    (COT | {"task": "cover-nofsq"}, False),
    (COT | {"task": "repaint"}, False),
    (COT | {"task": "extract"}, False),
    (COT | {"task": "complete"}, True),
    (COT | {"task": "lego"}, True),
])
def test_four_values_or_a_cover_need_no_metadata_call(fields, wanted):
    asked = request(**fields)
    assert wants_metadata(asked, given(asked, None)) is wanted


def test_a_source_s_length_counts_as_given():
    asked = request(task="lego", bpm=120, key_scale="C major", time_signature="4", **COT)
    assert given(asked, 12.7).duration == 12
    assert given(asked, 3.0).duration == 10
    assert not wants_metadata(asked, given(asked, 12.7))


@pytest.mark.parametrize(("fields", "field"), [
    ({}, None),
    (COT, None),
    ({"thinking": True}, "thinking"),
    ({"thinking": True, "codes": [[1]]}, None),
    ({"thinking": True, "task": "cover"}, None),
    ({"sample_mode": True, "sample_query": "x", "use_format": "need", "caption": "x", "task": "extract"}, None),
    ({"thinking": True, "task": "lego"}, None),
    ({"sample_mode": True, "task": "lego"}, "sample_mode"),
    ({"sample_query": " a waltz "}, "sample_query"),
    ({"sample_query": "  "}, None),
    ({"sample_mode": True}, "sample_mode"),
    ({"use_format": "need", "caption": "x"}, "use_format"),
    ({"use_format": "need", "lyrics": "x"}, "use_format"),
    ({"use_format": "need"}, None),
    ({"use_format": "try", "caption": "x"}, None),
    ({"kind": "codes"}, None),
    ({"kind": "understand"}, "kind"),
    ({"kind": "metadata", "caption": "x"}, "kind"),
    ({"kind": "sample"}, "kind"),
    ({"kind": "format", "caption": "x"}, "kind"),
])
def test_what_cannot_be_served_without_the_lm_is_named(fields, field):
    assert needed_for(request(**fields)) == field


def test_forms_hold_what_is_wanted_and_force_what_is_given():
    assert metadata_form(request(bpm=90, vocal_language="DE", **COT), given(
        request(bpm=90, vocal_language="DE"), None)).fields == (
        ("bpm", "90"), ("caption", None), ("duration", None), ("keyscale", None), ("language", "de"),
        ("timesignature", None))
    lean = request(use_cot_metas=True)
    assert [name for name, _ in metadata_form(lean, given(lean, None)).fields] == [
        "bpm", "duration", "keyscale", "timesignature"]
    assert [name for name, _ in song_form(lean, Sheet()).fields] == [
        "bpm", "caption", "duration", "genres", "keyscale", "language", "timesignature"]


THREE = {"bpm": 90, "key_scale": "C major", "time_signature": "4"}


@pytest.mark.parametrize(("fields", "planned", "block"), [
    (COT, LM, Sheet(99, "the LM's", 41, None, "A minor", "ja", "3")),
    (COT | {"vocal_language": "de"}, replace(LM, language="de"), Sheet(99, "the LM's", 41, None, "A minor", "de", "3")),
    (COT | {"use_cot_caption": False, "use_cot_language": False}, LM, Sheet(99, None, 41, None, "A minor", None, "3")),
    (COT | FOUR | {"vocal_language": "de"}, Sheet(), Sheet(120, None, 30, None, "C major", None, "4")),
    (THREE | {"vocal_language": "de"}, Sheet(), Sheet(90, None, 30, None, "C major", "de", "4")),
    (THREE, Sheet(), Sheet(90, None, 30, None, "C major", None, "4")),
    ({}, Sheet(), Sheet(duration=30)),
], ids=["planned", "own language", "no caption, no language", "four values", "three, language", "three", "nothing"])
def test_the_block_before_the_codes_has_the_lm_s_caption_and_language_unless_four_values_were_given(
        fields, planned, block):
    asked = request(caption="mine", lyrics="my words", **fields)
    merged = merge_metadata(asked, planned) if planned != Sheet() else asked
    merged = replace(merged, duration=merged.duration or 30)
    assert codes_sheet(given(asked, None), planned, merged) == block


@pytest.mark.parametrize(("fields", "text"), [({}, True), ({"lyrics": "x"}, False), ({"instrumental": True}, False)])
def test_lyrics_are_only_written_where_they_are_wanted(fields, text):
    assert song_form(request(**fields), Sheet()).text is text
