"""Chat messages: which one decides, what its text asks for."""

import time

import pytest

from frontend.chat.messages import NO_INPUT, Message, Wish, deciding_message, looks_like_lyrics, understand
from frontend.errors import RequestError

USER = {"role": "user", "content": "a waltz"}


def refusal(messages):
    with pytest.raises(RequestError) as error:
        deciding_message(messages)
    assert error.value.status == 400
    return error.value.detail


@pytest.mark.parametrize(("messages", "text"), [
    ([USER], "a waltz"),
    ([{"content": "no role means user"}], "no role means user"),
    ([{"role": "user", "content": "first"}, USER], "a waltz"),
    ([{"role": "system", "content": "be loud"}, USER, {"role": "assistant", "content": "done"}], "a waltz"),
    ([USER, {"role": "user", "content": "  "}, {"role": "user"}, {"role": "user", "content": []}], "a waltz"),
    ([USER, {"role": "assistant", "content": 5}], "a waltz"),
    ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, "b"]}], "a\nb"),
    ([{"role": "system", "content": "be loud"}], ""),
    ([{"role": "user", "content": ""}], ""),
])
def test_the_last_message_of_a_user_that_is_not_empty_decides(messages, text):
    assert deciding_message(messages) == Message(text)


def test_audio_parts_come_with_their_text():
    parts = [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, {"type": "text", "text": "hum"}]
    assert deciding_message([{"role": "user", "content": parts}]) == Message("hum", ("AAAA",))
    assert deciding_message([USER, {"role": "user", "content": parts[:1]}]) == Message("", ("AAAA",))


@pytest.mark.parametrize(("messages", "line"), [
    (None, NO_INPUT), ([], NO_INPUT), ("a waltz", "messages: must be a list"), ({}, "messages: must be a list"),
    (["a waltz"], "messages: each must be an object with role and content"),
    ([{"role": "user", "content": 5}],
     "messages: content must be text or a list of parts"),
    ([{"content": [{"type": "text"}]}], "messages: a part of type text has no text that can be read"),
    ([{"content": [{"type": "input_audio"}]}],
     "messages: a part of type input_audio has no input_audio that can be read"),
])
def test_what_cannot_be_read_is_a_line_that_says_so(messages, line):
    assert refusal(messages) == line


@pytest.mark.parametrize(("text", "wish"), [
    ("<prompt>jazz</prompt>\n<lyrics>[Verse]\nla</lyrics>", Wish("jazz", "[Verse]\nla", is_tagged=True)),
    ("<PROMPT> jazz\nslow </Prompt>", Wish("jazz\nslow", is_tagged=True)),
    ("<lyrics>la</lyrics> and a jazzy tune", Wish("and a jazzy tune", "la", is_tagged=True)),
    ("loud <prompt>jazz</prompt> fast", Wish("jazz", is_tagged=True)),
    ("<prompt></prompt>outside", Wish("outside", is_tagged=True)),
    ("<prompt>a</prompt><prompt>b</prompt>", Wish("a", is_tagged=True)),
    ("<prompt>never closed", Wish(query="<prompt>never closed")),
    ("a closed one </lyrics> alone", Wish(query="a closed one </lyrics> alone")),
    ("[Verse 1]\nWalking down the street", Wish(lyrics="[Verse 1]\nWalking down the street")),
    ("[inst]", Wish(lyrics="[inst]")),
    ("one\ntwo\n\nthree\nfour", Wish(lyrics="one\ntwo\n\nthree\nfour")),
    ("one\ntwo\nthree", Wish(query="one\ntwo\nthree")),
    ("帮我生成一首欢快的中文流行歌曲，关于夏天和旅行", Wish(query="帮我生成一首欢快的中文流行歌曲，关于夏天和旅行")),
    ("", Wish()),
])
def test_tags_lyrics_and_natural_language(text, wish):
    assert understand(text) == wish


@pytest.mark.parametrize(("text", "wish"), [
    ("a rock song", Wish("a rock song", "given")),
    ("one\ntwo\nthree\nfour", Wish("one\ntwo\nthree\nfour", "given")),
    ("[Chorus]\nla", Wish("", "given")),
    ("<prompt>rock</prompt><lyrics>la</lyrics>", Wish("rock", "given", is_tagged=True)),
    ("", Wish("", "given")),
])
def test_lyrics_given_apart_win_and_leave_the_text_to_be_the_prompt(text, wish):
    assert understand(text, "given") == wish


@pytest.mark.parametrize(("text", "wish"), [
    ("a rock song", Wish(query="a rock song")),
    ("[Verse]\nla", Wish(query="[Verse]\nla")),
    ("<prompt>rock</prompt><lyrics>la</lyrics>", Wish(query="rock", lyrics="la", is_tagged=True)),
    ("", Wish()),
])
def test_in_sample_mode_the_text_is_a_query(text, wish):
    assert understand(text, as_query=True) == wish


@pytest.mark.parametrize("marker", [
    "[Verse", "[chorus", "[BRIDGE", "[Intro", "[Outro", "[hook", "[Pre-Chorus", "[refrain", "[inst"])
def test_each_marker_makes_lyrics(marker):
    assert looks_like_lyrics(f"a long line of words that goes on for more than sixty characters {marker} 2]")


def test_long_lines_are_prose():
    assert not looks_like_lyrics("\n".join(["x" * 60] * 4))
    assert looks_like_lyrics("\n".join(["x" * 59] * 4))


def test_a_megabyte_of_open_tags_takes_no_time():
    begin = time.perf_counter()
    assert understand("<prompt>" * 130_000).query
    assert understand("<lyrics>" * 65_000 + "</prompt>" * 60_000).query
    assert time.perf_counter() - begin < 10
