"""What a request says and no field reads is named: in the job's notes, or at the end of an answer that is no job."""

# mypy: allow-untyped-calls

import json

import pytest

from frontend.errors import RequestError
from frontend.native.fields import read
from frontend.native.not_used import HEADER
from frontend.native.routes import create_app
from frontend.native.sample import random_submission
from frontend.native.submission import submission
from frontend.native.task_fields import read_task
from frontend.openapi.native import operations
from frontend.services import Services
from frontend.settings import resolve
from tests.test_field_usage import notes
from tests.test_native_fields import BOTH, WITH_LM

NO_FIELD = "not used, because no field is called so: "


@pytest.mark.parametrize("reader", [read, read_task])
@pytest.mark.parametrize(("body", "lines"), [
    ({"colour": "blue", "allow_lm_batch": False, "n": 2}, [f"{NO_FIELD}colour, allow_lm_batch, n"]),
    ({"audio": {"format": "wav"}, "tags": ["pop"], "ai_token": "secret"}, [f"{NO_FIELD}audio, tags, ai_token"]),
    ({"metas": {"genres": "pop", "seed_values": 1}}, [f"{NO_FIELD}metas.genres, metas.seed_values"]),
    ({"genres": "N/A", "tags": [], "a": None, "b": " ", "c": {}, "d": "none"}, []),
    ({"zero": 0, "no": False}, [f"{NO_FIELD}zero, no"]),
    ({"Caption": "y"}, [f"{NO_FIELD}Caption"]),
    ({"bpm": 100, "metas": {"bpm": 90}}, ["metas.bpm was not used: bpm wins"]),
    ({"bpm": 100, "metas": {"bpm": "100 BPM"}}, []), ({"bpm": 100, "metas": {"bpm": "?"}}, [
        "metas.bpm was not used: bpm wins"]),
    ({"duration": 30, "audioDuration": "30.0"}, []),
    ({"duration": 30, "target_duration": 40}, ["target_duration was not used: duration wins"]),
    ({"metas": {}, "meta": {"bpm": 80}, "userMetadata": '{"bpm": 70}'}, ["userMetadata was not used: meta wins"]),
    ({"metas": "{broken", "metadata": {"bpm": 80}},
     ["metas was not used: it is no JSON object", "metadata was not used: metas wins"]),
    ({"metas": [1]}, ["metas was not used: it is no JSON object"]), ({"metas": "{}"}, []), ({"metas": ""}, []),
    ({"retake_seed": 5}, []), ({"src_audio": ""}, []),
    ({"format": "Wav "}, ["format was read as use_format, and Wav as false; files have audio_format"]),
    ({"metas": {"format": "flac"}},
     ["metas.format was read as use_format, and flac as false; files have audio_format"]),
    ({"format": "yes"}, []), ({"use_format": True, "format": "mp3"}, ["format was not used: use_format wins"]),
])
def test_of_a_song(reader, body, lines):
    assert list(reader(body).notes) == lines


def test_fields_that_are_read_in_the_body_alone():
    assert notes(metas={"seed": 5, "batch_size": 9}) == (f"{NO_FIELD}metas.seed, metas.batch_size",)
    assert read_task({"metas": {"seed": 5}, "param_obj": {"batch_size": 3}}).notes == (), "of a task in any place"


def test_a_tasks_parameters():
    assert read_task({"param_obj": "{", "bpm": 90}).notes == ("param_obj was not used: it is no JSON object",)
    assert read_task({"param_obj": {"bpm": 1e2, "colour": 1}, "bpm": 90}).notes == (
        f"{NO_FIELD}param_obj.colour", "param_obj.bpm was not used: bpm wins")
    assert read_task({"param_obj": {"bpm": 60}, "paramObj": {"bpm": 70}}).notes == (
        "paramObj was not used: param_obj wins",)


def test_the_names_are_one_short_line():
    assert notes(**{"a\r\nb\ud800" + "c" * 100: 1}) == (f"{NO_FIELD}a b?{'c' * 76}",)
    [line] = notes(**{f"x{i}": 1 for i in range(1000)})
    assert line == f"{NO_FIELD}{', '.join(f'x{i}' for i in range(20))} and 980 more"


def test_the_notes_of_a_job_begin_with_the_fields():
    assert submission({"caption": "x", "seed": 5, "retakeSeed": 1, "colour": 1}, BOTH).notes == (
        "seed was not used: use_random_seed is true", "not served, and at values that change nothing: retakeSeed",
        f"{NO_FIELD}colour")


@pytest.mark.parametrize(("body", "query", "lines"), [
    ({}, {}, []), ({"thinking": False}, {}, []), ({"thinking": ""}, {"thinking": "no"}, []),
    ({"duration": 20, "seed": 5}, {"_": "1"}, [f"{NO_FIELD}duration, seed, query._"]),
    ({"thinking": True}, {"thinking": "no"}, ["query.thinking was not used: thinking wins"]),
    ({"thinking": True, "Thinking": False}, {"Thinking": "1"}, ["Thinking was not used: thinking wins"]),
    ({"retake_variance": 0, "fadeInDuration": "0"}, {"retake_seed": "5"},
     ["not served, and at values that change nothing: retake_variance, retake_seed, fadeInDuration"]),
])
def test_of_a_random_song(body, query, lines):
    assert list(random_submission(body, query, WITH_LM).notes) == lines


@pytest.mark.parametrize(("body", "query"), [({"retake_variance": 0.5}, {}), ({}, {"retakeVariance": "0.5"})])
def test_a_random_song_refuses_what_is_not_built(body, query):
    with pytest.raises(RequestError, match="is not built yet; only 0 passes"):
        random_submission(body, query, WITH_LM)


@pytest.fixture
async def services(tmp_path):
    """A frontend that knows an LM but reaches no Triton; its LM writes what it is given."""
    flags: dict[str, str | None] = {"state": str(tmp_path), "triton_url": "127.0.0.1:9", "native_api_key": "key"}
    async with Services(resolve(flags, {}, {})) as running:
        running.catalogue = WITH_LM
        yield running


async def ask(services, method, path, **sent):
    headers = {"Authorization": "Bearer key", **sent.pop("headers", {})}
    return await create_app(services).test_client().open(path, method=method, headers=headers, **sent)


@pytest.mark.parametrize(("headers", "data", "is_named"), [
    ({"Content-Type": "application/json"}, b'{"thinking": false', True), ({}, b'{"thinking": false}', True),
    ({"Content-Type": "application/x-www-form-urlencoded"}, b"thinking=false", True), ({}, b" \n", False),
    ({"Content-Type": "application/json"}, b"{}", False),
])
async def test_a_body_that_a_random_song_does_not_read(services, headers, data, is_named):
    answer = await (await ask(services, "POST", "/v1/music/random", headers=headers, data=data)).get_json()
    job = await services.store.get(answer["job_id"])
    assert job.work.notes == (("the body was not used: it is no JSON object",) if is_named else ())


NO_PARAMETER = "not used, because no parameter is called so: "


@pytest.mark.parametrize("path", [
    "/v1/jobs", "/v1/models", "/v1/models/tiny-turbo", "/v1/stats", "/health", "/livez", "/openapi.json"])
async def test_query_parameters_that_no_route_reads(services, path):
    plain = await (await ask(services, "GET", path)).get_json()
    answer = await ask(services, "GET", f"{path}?colour=blue&_=5&colour=red")
    body = await answer.get_json()
    assert list(body) == [*plain, "not_used"], "after all other keys"
    assert body["not_used"] == [f"{NO_PARAMETER}colour, _"]
    assert int(answer.headers["Content-Length"]) == len(await answer.get_data(as_text=False))
    assert HEADER not in answer.headers


async def test_parameters_that_are_read_are_not_named(services):
    for each in operations():
        query = "&".join(f"{entry['name']}=1" for entry in each.parameters if entry["in"] == "query")
        path = each.path.replace("<job_id>", "x") + f"?{query}"
        if query and each.method == "GET":
            answer = await ask(services, "GET", path.replace("status=1", "status=failed"))
            assert "not_used" not in await answer.get_data(as_text=True)


async def test_answers_that_are_no_object_have_a_header(services):
    answer = await ask(services, "GET", "/metrics?a%0Ab=1&%C3%A9=2")
    assert answer.headers[HEADER] == f"{NO_PARAMETER}a b, \\xe9"
    assert HEADER not in (await ask(services, "GET", "/metrics")).headers
    long = await ask(services, "GET", "/metrics?" + "&".join(f"{'%C3%A9' * 80}{i}=1" for i in range(30)))
    assert len(long.headers[HEADER]) == 1000


async def test_the_query_of_a_submission(services):
    for path in ("/v1/music/generate", "/release_task"):
        body = await (await ask(services, "POST", f"{path}?bpm=90", json={"caption": "x"})).get_json()
        assert body["not_used"] == [f"{NO_PARAMETER}bpm"]
    body = await (await ask(services, "POST", "/v1/music/random?bpm=90")).get_json()
    assert "not_used" not in body, "its job says it"


async def test_tasks_asked_for(services):
    async def said(query="", **body):
        answer = await (await ask(services, "POST", f"/query_result{query}", json=body)).get_json()
        assert list(answer)[:5] == ["data", "code", "error", "timestamp", "extra"]
        return answer.get("not_used")

    assert await said(task_id_list=["a"]) is None
    assert await said(task_id_list=["a"], ai_token="secret", page=1) == [f"{NO_FIELD}ai_token, page"]
    assert await said(task_id_list='["a"]', taskIdList=["a"]) is None
    assert await said(task_id_list=["a"], taskIdList=["b"]) == ["taskIdList was not used: task_id_list wins"]
    assert await said("?x=1", task_id_list=["a"], y=1) == [f"{NO_FIELD}y", f"{NO_PARAMETER}x"]


@pytest.mark.parametrize(("sent", "lines"), [
    ({"prompt": "pop", "temperature": 0.5, "param_obj": '{"duration": 20, "language": "ja"}'}, None),
    ({"prompt": "pop", "use_format": True}, None),
    ({"prompt": "pop", "batch_size": 4, "thinking": True, "format": False, "param_obj": {"seed": 5}},
     ["not used, because no song is made: thinking, format, seed, batch_size"]),
    ({"prompt": "pop", "desc": "a song", "task_type": "cover", "audio_codes": "<|audio_code_1|>", "model": "gpt"},
     ["not used, because no song is made: desc, model, audio_codes, task_type"]),
    ({"prompt": "pop", "colour": 1, "param_obj": {"genre": "pop"}, "ai_token": "x"},
     [f"{NO_FIELD}colour, ai_token, param_obj.genre"]),
    ({"prompt": "pop", "temperature": 0, "lm_top_k": 5}, ["lm_top_k was not used: lm_temperature is 0"]),
    ({"prompt": "pop", "lyrics": "la", "instrumental": True}, ["lyrics was not used: the song is instrumental"]),
    ({"prompt": "pop", "retake_seed": 5}, ["not served, and at values that change nothing: retake_seed"]),
])
async def test_texts_that_are_improved(services, monkeypatch, sent, lines):
    asked = []

    async def write(request):
        asked.append(request)
        return {"caption": "better"}

    monkeypatch.setattr(services.songs, "write", write)
    answer = await (await ask(services, "POST", "/format_input", json=sent)).get_json()
    assert (answer["data"]["caption"], answer.get("not_used")) == ("better", lines)
    [request] = asked
    assert json.loads(json.dumps(request))["kind"] == "format"
    assert (request["use_format"], request["thinking"], request["sample_query"], request["task"]) == (
        "need", False, "", "text2music")
