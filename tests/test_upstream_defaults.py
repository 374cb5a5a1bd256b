"""UPSTREAM_DEFAULTS: what a client does not send is as in upstream's server; what it sends is as it says."""

# mypy: allow-untyped-calls

import pytest

from frontend.chat.routes import create_app as create_chat
from frontend.defaults import OURS, UPSTREAM, chosen
from frontend.native.routes import create_app
from frontend.native.submission import submission
from frontend.settings import SettingsError, load
from tests.scripted import ended
from tests.serving import served
from tests.test_native_fields import BOTH, TEN

JUNE = UPSTREAM["2026-06"]
CHANGED = {"dcw_enabled": True, "repaint_mode": "balanced", "chunk_mask_mode": "ones", "fallback_duration": 120.0}


def song(defaults=JUNE, **body):
    return submission({"caption": "x", **body}, BOTH, TEN, lambda: 7, defaults).song


def test_only_these_values_are_others():
    assert song() == song(OURS) | CHANGED
    assert song()["repaint_strength"] == 0.5
    assert (song()["steps"], song()["shift"]) == (None, 3.0)


@pytest.mark.parametrize("model", ["tiny-turbo", "tiny-base"])
def test_every_model_is_corrected(model):
    assert song(model=model)["dcw_enabled"] is True


@pytest.mark.parametrize(("body", "key", "value"), [
    ({"dcw_enabled": False}, "dcw_enabled", False), ({"dcwEnabled": "no"}, "dcw_enabled", False),
    ({"repaint_mode": "aggressive"}, "repaint_mode", "aggressive"), ({"repaint_strength": 1}, "repaint_strength", 1.0),
    ({"chunk_mask_mode": "explicit"}, "chunk_mask_mode", "explicit"), ({"audio_duration": 40}, "duration", 40.0),
    ({"metas": {"chunkMaskMode": "auto"}}, "chunk_mask_mode", "ones"),
    ({"repaint_mode": None}, "repaint_mode", "balanced"),
])
def test_what_is_sent_counts_but_auto_is_what_it_is_there(body, key, value):
    assert song(**body)[key] == value


def test_without_the_setting_auto_is_the_models_choice():
    assert song(OURS, chunk_mask_mode="auto")["chunk_mask_mode"] == "auto"


def test_the_setting():
    assert load([], {}, None).upstream_defaults is None
    assert chosen(None) == OURS
    given = load([], {"UPSTREAM_DEFAULTS": "2026-06"}, None)
    assert chosen(given.upstream_defaults) == JUNE
    assert given.environment()["UPSTREAM_DEFAULTS"] == "2026-06"
    with pytest.raises(SettingsError) as error:
        load([], {"UPSTREAM_DEFAULTS": "2025"}, None)
    assert str(error.value) == "UPSTREAM_DEFAULTS: must be one of 2026-06, not '2025'"


async def test_every_route_has_them(scripted, tmp_path):
    async with scripted.frontend(tmp_path, workers=2, lm=True, upstream_defaults="2026-06") as services:
        async with served(create_app(services)) as native:
            for path, body in (("/v1/music/generate", {"caption": "x"}), ("/release_task", {"prompt": "x"}),
                               ("/v1/music/random", {"thinking": False})):
                answer = (await native.post(path, json=body)).json()
                job = await ended(services, answer.get("job_id") or answer["data"]["task_id"])
                assert {name: scripted.request(job.id)[name] for name in CHANGED} == CHANGED, path
        async with served(create_chat(services)) as chat:
            message = {"messages": [{"role": "user", "content": "<prompt>x</prompt>"}], "audio_format": "wav"}
            completion = await chat.post("/v1/chat/completions", json=message)
            assert completion.status_code == 200, completion.text
            [job] = await services.store.list(1)
            assert {name: job.work.song[name] for name in CHANGED} == CHANGED
