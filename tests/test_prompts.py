"""The texts the models see are the reference's, character by character."""

import pytest
from diffusers import AceStepPipeline

from pipeline.prompts import INSTRUCTIONS, Metadata, bare_caption, caption_prompt, lyric_prompt, sung_lyrics

SONGS = [
    Metadata("soft piano", "[verse]\nla la", "en", 120, "C major", "4", 30.0),
    Metadata("", "", "unknown", None, "", "", 61.3),
    Metadata("雨の夜 🌧 ballad", "[Verse]\n雨が降る 🎹\n\n[Chorus]\n你好", "ja", 72, "F# minor", "3", 600.0),
]


@pytest.mark.parametrize("song", SONGS)
def test_prompts_equal_the_reference_pipeline_s(song):
    ours = caption_prompt(INSTRUCTIONS["text2music"], song), lyric_prompt(song)
    theirs = AceStepPipeline._format_prompt(
        _Formatter(), song.caption, song.lyrics, song.vocal_language, song.duration, INSTRUCTIONS["text2music"],
        song.bpm, song.key_scale, song.time_signature)
    assert ours == theirs


class _Formatter:
    """The one method that the reference's formatter calls on its pipeline."""

    _build_metadata_string = staticmethod(AceStepPipeline._build_metadata_string)


def test_the_documented_text():
    assert caption_prompt("Fill it", SONGS[1]) == (
        "# Instruction\nFill it:\n\n# Caption\n\n\n# Metas\n- bpm: N/A\n- timesignature: N/A\n- keyscale: N/A\n"
        "- duration: 61 seconds\n<|endoftext|>\n")
    assert lyric_prompt(SONGS[0]) == "# Languages\nen\n\n# Lyric\n[verse]\nla la<|endoftext|>"


def test_a_whole_prompt_as_caption_keeps_only_its_caption():
    whole = caption_prompt("Do this:", SONGS[0])
    assert bare_caption(whole) == "soft piano"
    assert bare_caption("# Caption is a nice word") == "# Caption is a nice word"


@pytest.mark.parametrize(
    ("lyrics", "instrumental", "seen"),
    [("la", False, "la"), ("la", True, "[Instrumental]"), ("[inst]", False, "[Instrumental]"),
     (" [INSTRUMENTAL] ", False, "[Instrumental]"), ("", False, ""), ("[inst] la", False, "[inst] la")],
)
def test_instrumental_marker(lyrics, instrumental, seen):
    assert sung_lyrics(lyrics, instrumental) == seen
