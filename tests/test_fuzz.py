"""Requests drawn from the OpenAPI documents, good ones and bad ones: every answer is a documented one.

Nothing is claimed meanwhile: a song that is asked for waits, a chat that is accepted passes its deadline (504).
"""

# mypy: allow-untyped-calls

import itertools
from collections import Counter

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from frontend.openapi import chat, native
from tests.lone_frontend import lone_frontend

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
KEY = {"Authorization": "Bearer key"}
# Documented, and not a fault: no Triton is there, and no song gets ready.
EXPECTED = {("native", "GET", "/readyz"): {503}} | {
    ("chat", "POST", path): {504} for path in ("/v1/chat/completions", "/api/v1/chat/completions")}


@pytest.fixture(scope="module")
def frontend(tmp_path_factory):
    flags = ("--native-api-key", "key", "--api-key", "key", "--queue-maxsize", "100000", "--generation-timeout", "1")
    with lone_frontend(tmp_path_factory.mktemp("fuzz"), *flags) as running:
        yield running


SONGS = ("/v1/music/generate", "/release_task", "/v1/chat/completions", "/api/v1/chat/completions")
SAME = "/api/v1/chat/completions"  # the same route once more
# Good alone, but not with every other field, or not without an LM, or not with these models.
RELATED = ("model", "task_type", "thinking", "sample_mode", "sample_query", "use_format", "lm_model_path", "lm_backend",
           "src_audio_path", "reference_audio_path", "inference_steps", "timesteps", "cfg_interval_start", "track_name",
           "track_classes", "metas", "param_obj", "messages", "audio_config", "stream")
CHAT = [{"role": "user", "content": "<prompt>x</prompt>"}]


def make_servable(case):
    """A good song request whose fields go together."""
    for name in RELATED:
        case.body.pop(name, None)
    if "chat" in case.operation.path:
        case.body["messages"] = CHAT
    else:
        case.body["caption"] = "x"


def fuzz(frontend, with_body, without_body, is_repeatable):
    """(path, status) of the requests sent: so many for each operation, half of them good."""
    sent: Counter[tuple[str, int]] = Counter()
    described = {"native": native.describe(with_list=True), "chat": chat.describe()}
    for api, document in described.items():
        base_url = getattr(frontend, api)
        with requests.Session() as session:
            session.headers.update(KEY)
            session.trust_env = False
            for found in schemathesis.openapi.from_dict(document).get_all_operations():
                assert isinstance(found, Ok), found
                operation = found.ok()
                count = with_body if operation.body else without_body
                if operation.path == SAME:
                    count //= 4
                # Any text is a good id, and a good Last-Event-ID: there is no bad request to draw.
                is_any_good = any(parameter.name in ("job_id", "model_id") for parameter in operation.iter_parameters())
                for mode in (GenerationMode.POSITIVE,) if is_any_good else GenerationMode:
                    send(sent, api, operation, mode, count // 2, base_url, session, is_repeatable)
    return sent


def send(sent, api, operation, mode, count, base_url, session, is_repeatable):
    numbers = itertools.count()
    key = (api, operation.method.upper(), operation.path)

    @settings(max_examples=count, deadline=None, database=None, phases=(Phase.generate,), derandomize=is_repeatable,
              suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def answers_as_documented(case):
        is_song = mode.is_positive and isinstance(case.body, dict) and operation.path in SONGS
        if is_song and next(numbers) % (32 if api == "chat" else 4) == 0:  # a chat is a second's wait
            make_servable(case)
        response = case.call(base_url=base_url, session=session, timeout=60)
        sent[operation.path, response.status_code] += 1
        assert response.status_code < 500 or response.status_code in EXPECTED.get(key, ()), response.text
        if response.status_code >= 400 and "application/json" in response.headers["content-type"][0]:
            body = response.json()
            assert "status" in body or isinstance(body["detail"], str), body
            assert "Traceback" not in response.text
        case.validate_response(response, checks=CHECKS)

    if any(operation.iter_parameters()) or operation.body:
        answers_as_documented()
    else:  # there is one good request, and no bad one
        response = operation.Case().call(base_url=base_url, session=session, timeout=60)
        sent[operation.path, response.status_code] += 1
        assert response.status_code < 500 or response.status_code in EXPECTED.get(key, ())


def test_five_hundred_requests(frontend):
    sent = fuzz(frontend, 72, 10, is_repeatable=True)
    assert sent.total() >= 500
    assert all(sent[path, 200] + sent[path, 504] for path in SONGS), "requests that are served are among them"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_requests(frontend):
    assert fuzz(frontend, 1700, 100, is_repeatable=False).total() >= 10_000
