"""Lines end with LF alone, however they were sent: browsers' forms and Windows send CRLF; no Triton needed."""

# mypy: allow-untyped-calls

import pytest

from frontend.chat.fields import read as read_chat
from frontend.chat.messages import deciding_message
from frontend.chat.request import chat_work, read_wish
from frontend.native.body import parse_body
from frontend.native.fields import TABLE
from frontend.native.task_fields import read_task
from frontend.uploads import Files
from tests.test_native_fields import WITH_LM, refusal, song, work_of

SENT, READ = "[Verse]\r\na\rb\nc\r\n\r\nd", "[Verse]\na\nb\nc\n\nd"
TEXTS = {"caption": "caption", "lyrics": "lyrics", "sample_query": "sample_query", "instruction": "instruction",
         "lm_negative_prompt": "lm_negative_prompt", "global_caption": "global_caption"}


@pytest.mark.parametrize(("field", "name"), [(e.name, name) for e in TABLE if e.name in TEXTS for name in e.names])
def test_every_text_of_a_song(field, name):
    rest = {} if field == "caption" else {"caption": "x"}
    assert song(WITH_LM, **{"caption": None, **rest, name: SENT})[TEXTS[field]] == READ
    assert read_task({"param_obj": {name: SENT}})[field] == READ


def test_forms():
    form = parse_body("application/x-www-form-urlencoded", b"caption=x&lyrics=a%0D%0Ab%0Dc")
    assert work_of(form).song["lyrics"] == "a\nb\nc"


def test_a_line_end_is_one_character():
    assert song(lyrics="\r\n" * 3999 + "la")["lyrics"] == "\n" * 3999 + "la"
    assert refusal(lyrics="la" + "\r\n" * 7999) == "lyrics: must have at most 8000 characters"


def wish(content, **body):
    fields = read_chat(body)
    said = read_wish(fields, deciding_message([{"role": "user", "content": content}]).text)
    return chat_work(fields, said, Files(), WITH_LM, lambda: 7).song


@pytest.mark.parametrize("parts", [False, True])
def test_chat_messages(parts):
    def content(text):
        return [{"type": "text", "text": text}] if parts else text

    tagged = wish(content(f"<prompt>a\r\nb</prompt>\r\n<lyrics>\r\n{SENT}\r\n</lyrics>"))
    assert (tagged["caption"], tagged["lyrics"]) == ("a\nb", READ)
    assert wish(content(SENT))["lyrics"] == READ
    assert wish(content("a song\r\nof rain"))["sample_query"] == "a song\nof rain"
    assert wish(content("slow\r\nrain"), lyrics="la\r\nla") | {"seeds": []} == wish(
        content("slow\nrain"), lyrics="la\nla") | {"seeds": []}
