"""A song without a voice: asked for by a field, by the lyrics or by a wish; no Triton needed."""

# mypy: allow-untyped-calls

import pytest

from tests.test_field_usage import notes
from tests.test_native_fields import WITH_LM, song


@pytest.mark.parametrize(("body", "instrumental"), [
    ({}, False), ({"lyrics": " [Inst] "}, True), ({"lyrics": "[instrumental]"}, True), ({"lyrics": "la"}, False),
    ({"caption": "instrumental"}, False), ({"sample_query": "an instrumental"}, True),
    ({"desc": "a guitar solo"}, True),
    ({"desc": "a guitar solo", "lyrics": "la la"}, False), ({"desc": "a song", "lyrics": "[inst]"}, True),
])
def test_instrumental_by_the_lyrics_or_by_the_wish(body, instrumental):
    assert song(WITH_LM, **body)["instrumental"] is instrumental


@pytest.mark.parametrize("body", [
    {"instrumental": True}, {"instrumental": "yes", "lyrics": "la"}, {"metas": {"instrumental": 1}},
    {"instrumental": True, "desc": "a song"}, {"instrumental": True, "thinking": True},
])
def test_instrumental_by_its_field(body):
    assert song(WITH_LM, **body)["instrumental"] is True


def test_who_says_no_is_not_overruled_by_a_wish():
    assert song(WITH_LM, desc="an instrumental", instrumental=False)["instrumental"] is False
    assert song(WITH_LM, desc="an instrumental", instrumental="")["instrumental"] is True
    assert song(WITH_LM, lyrics="[inst]", instrumental=False)["instrumental"] is True, "the lyrics say so"


def test_lyrics_of_an_instrumental_are_named():
    assert notes(lyrics="la", instrumental=True) == ("lyrics was not used: the song is instrumental",)
    assert notes(lyrics="[Inst]", instrumental=True) == ()
    assert notes(instrumental=False) == ()
