"""What the text of a chat message is to a song that follows a source: its prompt, its lyrics, or a request."""

# mypy: allow-untyped-calls

import pytest

from contract.tasks import TASKS
from tests.test_chat_fields import SOURCE, song
from tests.test_native_fields import WITH_LM

LYRICS = "[Verse]\nla la"
FOLLOWING = tuple(task.name for task in TASKS.values() if task.needs_source)


def texts(text, task, **body):
    made = song(text, SOURCE, WITH_LM, task_type=task, model="tiny-base", **body)
    return made["caption"], made["lyrics"], made["sample_query"]


@pytest.mark.parametrize("task", FOLLOWING)
def test_natural_language_is_the_prompt_and_lyrics_stay_lyrics(task):
    assert texts("make it jazz", task) == ("make it jazz", "", "")
    assert texts(LYRICS, task) == ("", LYRICS, "")
    assert texts(f"<prompt>jazz</prompt><lyrics>{LYRICS}</lyrics>", task) == ("jazz", LYRICS, "")


@pytest.mark.parametrize("task", FOLLOWING)
def test_in_sample_mode_it_is_a_request_where_the_task_uses_the_lm(task):
    for text in ("make it jazz", LYRICS):
        asked = (text, "", "") if task not in ("lego", "complete") else ("", "", text)
        assert texts(text, task, sample_mode=True) == asked


@pytest.mark.parametrize("task", FOLLOWING)
def test_the_default_formatting_leaves_it_its_words(task):
    """Metadata may be missing; but new lyrics for a stem are nothing that a client asked for by saying nothing."""
    made = song("make it jazz", SOURCE, WITH_LM, task_type=task, model="tiny-base")
    assert (made["use_format"], made["use_cot_metas"]) == ("off", True)
    asked = song("make it jazz", SOURCE, WITH_LM, task_type=task, model="tiny-base", use_format=True)
    assert asked["use_format"] == ("try" if task in ("lego", "complete") else "off")
