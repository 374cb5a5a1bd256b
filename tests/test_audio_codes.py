"""A song that follows audio codes hands them out, in every API's own place; any other song has none."""

# mypy: allow-untyped-calls

import json

import pytest

from frontend.chat.routes import create_app as create_chat
from frontend.code_text import code_texts
from frontend.native.routes import create_app
from frontend.native.submission import submission
from frontend.songs.events import Codes, parse
from tests.scripted import ended
from tests.serving import served
from tests.test_native_fields import BOTH, TEN, WITH_LM

GIVEN = ["<|audio_code_1|><|audio_code_2|>", "<|audio_code_63999|>"]
DRAWN = ["<|audio_code_5|><|audio_code_7|>", "<|audio_code_6|><|audio_code_7|>"]
SEEDED = {"caption": "x", "seed": 5, "use_random_seed": False, "audio_format": "wav"}
MESSAGE = {"messages": [{"role": "user", "content": "<prompt>x</prompt>"}], "audio_format": "wav", "seed": 5}


@pytest.mark.parametrize(("body", "is_wanted"), [
    ({}, False), ({"thinking": True}, True), ({"thinking": True, "audio_codes": GIVEN}, True),
    ({"audio_codes": GIVEN}, False), ({"thinking": True, "task_type": "cover", "audioCodes": GIVEN[0]}, True),
    ({"task_type": "cover"}, False), ({"task_type": "cover", "thinking": True}, False),
    ({"task_type": "complete", "model": "tiny-base", "thinking": True}, False),
])
def test_codes_are_asked_for_whenever_the_song_follows_some(body, is_wanted):
    for catalogue in (WITH_LM,) if body == {"thinking": True} else (WITH_LM, BOTH):
        assert submission({"caption": "x", **body}, catalogue, TEN).song["return"] == (["codes"] if is_wanted else [])


def test_the_pipelines_event():
    assert parse(b'{"type": "codes", "item": 1, "codes": [3, 63999]}', None) == Codes(1, (3, 63999))


async def test_a_form_has_a_list_by_sending_the_name_again(client, services):
    """As HTTP clients send lists; of any other name the first one counts."""
    form = SEEDED | {"thinking": "true", "audio_codes": GIVEN, "batch_size": ["2", "1"]}
    for files in ({}, {"files": [("unused", ("", b""))]}):
        answer = await client.post("/v1/music/generate", data=form, **files)
        assert answer.status_code == 200, answer.text
        job = await ended(services, answer.json()["job_id"])
        assert job.work.song["codes"] == [[1, 2], [63_999]]


def test_results_of_before_have_no_codes():
    assert code_texts({}) is None
    assert code_texts({"codes": [[1, 2], [63999]]}) == GIVEN


@pytest.fixture
async def services(scripted, tmp_path):
    async with scripted.frontend(tmp_path, lm=True) as running:
        yield running


@pytest.fixture
async def client(services):
    async with served(create_app(services)) as running:
        yield running


@pytest.mark.parametrize(("sent", "codes"), [
    ({}, None), ({"audio_codes": GIVEN}, None), ({"thinking": True}, DRAWN),
    ({"thinking": True, "audio_code_string": GIVEN}, GIVEN),
    ({"thinking": True, "audio_codes": GIVEN[0]}, GIVEN[:1] * 2),
    ({"thinking": True, "batch_size": 1, "metas": {"audioCodes": GIVEN[1]}}, GIVEN[1:]),
])
async def test_a_result_and_a_task_have_them_last(client, services, sent, codes):
    job_id = (await client.post("/v1/music/generate", json=SEEDED | sent)).json()["job_id"]
    assert (await ended(services, job_id)).result is not None
    result = (await client.get(f"/v1/jobs/{job_id}")).json()["result"]
    assert list(result)[-2:] == ["dit_model", "audio_codes"]
    assert result["audio_codes"] == codes
    [entry] = (await client.post("/query_result", json={"task_id_list": [job_id]})).json()["data"]
    shown = json.loads(entry["result"])
    assert [list(audio)[-1] for audio in shown] == ["audio_codes"] * len(result["audio_paths"])
    assert [audio["audio_codes"] for audio in shown] == (codes or [None] * len(shown))


@pytest.mark.parametrize(("sent", "codes"), [
    ({}, None), ({"thinking": True}, DRAWN[0]), ({"thinking": True, "batch_size": 2}, DRAWN),
    ({"thinking": True, "audio_codes": GIVEN[0]}, GIVEN[0]),
])
async def test_a_chat_message_has_them_beside_its_audio(services, sent, codes):
    async with served(create_chat(services)) as chat:
        answer = await chat.post("/v1/chat/completions", json=MESSAGE | sent)
        assert answer.status_code == 200, answer.text
        message = answer.json()["choices"][0]["message"]
        assert message.get("audio_codes") == codes
        assert list(message) == ["role", "content", "audio", *([] if codes is None else ["audio_codes"])]
        lines = (await chat.post("/v1/chat/completions", json=MESSAGE | sent | {"stream": True})).text.split("\n\n")
        deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in lines if line.startswith("data: {")]
        [delta] = [delta for delta in deltas if "audio" in delta]
        assert {name: delta[name] for name in delta if name != "audio"} == (
            {} if codes is None else {"audio_codes": codes})
        assert not any("audio_codes" in other for other in deltas if other is not delta)
