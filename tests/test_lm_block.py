"""The LM's metadata block: written as it was trained on it, read whatever it wrote."""

import pytest

from frontend import musicality
from lm_guidance import fields
from pipeline.lm.block import LANGUAGES, Sheet, count_codes, read_block, read_codes, write_block

FULL = Sheet(bpm=120, caption="soft: piano", duration=30, keyscale="C major", language="no", timesignature="4")


def test_the_block_is_pyyaml_s_alphabetical_and_quoted_where_yaml_needs_it():
    assert write_block(FULL) == (
        "<think>\nbpm: 120\ncaption: 'soft: piano'\nduration: 30\nkeyscale: C major\nlanguage: 'no'\ntimesignature: 4\n"
        "</think>")
    assert write_block(Sheet()) == "<think>\n\n</think>"
    assert write_block(Sheet(bpm=90, genres="not told", lyrics="not told")) == "<think>\nbpm: 90\n</think>"


def test_a_long_caption_wraps_and_reads_back():
    long = Sheet(caption="warm analogue synths over a slow hip hop beat, " * 6 + "end")
    assert "\n  " in write_block(long)
    assert read_block(write_block(long)) == long


def test_what_is_written_reads_back():
    assert read_block(write_block(FULL)) == FULL


@pytest.mark.parametrize(("text", "sheet"), [
    ("", Sheet()),
    ("<think>\nbpm: 128\n", Sheet(bpm=128)),  # no end, as upstream's first phase
    ("bpm: fast\nduration: 30 seconds\nkeyscale: c# MINOR\ntimesignature: 6/8", Sheet(
        duration=30, keyscale="C# minor", timesignature="6")),
    ("<think>\nbpm: 29\nduration: 9999\ntimesignature: 5\nlanguage: klingon\nkeyscale: H dur\n</think>", Sheet()),
    ("<think>\ncaption: one\n  two\n\tthree\nbpm: 60\n</think>", Sheet(caption="one two three", bpm=60)),
    ('<think>\ncaption: "a \\"b\\""\ngenres: pop\n</think>', Sheet(caption='a "b"', genres="pop")),
    ("<think>\ncaption: 'broken\n</think>", Sheet(caption="'broken")),
    ("<think>\nbpm: 60\n</think>\n\n# Lyric\n[Verse]\nla <|audio_code_3|>la\n<|im_end|>", Sheet(
        bpm=60, lyrics="[Verse]\nla la")),
    ("bpm: 60\n<|audio_code_1|>duration: 30", Sheet(bpm=60)),
    ("  continuation of nothing\nno field\n<think>", Sheet()),
])
def test_any_answer_can_be_read(text, sheet):
    assert read_block(text) == sheet


def test_codes_are_read_and_spare_tokens_become_the_last_code():
    text = "x<|audio_code_0|>\n<|audio_code_63999|><|audio_code_64001|><|audio_code_|>"
    assert read_codes(text) == (0, 63_999, 63_999)
    assert count_codes("<|audio_code_12|><|audio_code_3|>") == 2


def test_all_parts_know_the_same_languages():
    assert set(musicality.LANGUAGES) == LANGUAGES == set(fields.LANGUAGES)
