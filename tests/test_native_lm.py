"""The native API with its 5 Hz LM on a whole stack: every way to ask for it, who wins, what a result tells.

The embedded LM's weights are random: what it writes is held to its form, and says nothing.
"""

# mypy: allow-untyped-calls

import re
import time

import httpx
import pytest

from contract.tasks import TASKS, LmPart
from frontend.errors import RequestError
from frontend.musicality import LANGUAGES
from frontend.services import Services
from frontend.settings import resolve
from tests.conftest import wait_for_model
from tests.test_native_api import FEW, RESULT, SHORT, SOURCE, audio, make

LM = "acestep-5Hz-lm-tiny"
NONE = "needs the 5 Hz LM, which is not loaded (LM=none)"
# Short and of one item; what is not given is the LM's to choose.
QUICK = {"batch_size": 1, "audio_format": "wav", "inference_steps": 1, "seed": 5, "use_random_seed": False}
TEN = QUICK | {"audio_duration": 10}
KNOWN = TEN | {"bpm": 90, "key_scale": "A minor", "time_signature": "3", "vocal_language": "en"}


@pytest.fixture(scope="module")
def api(stack):
    wait_for_model(stack, "lm")
    with httpx.Client(base_url=stack.api, timeout=30) as client:
        yield client


def result_of(api, files=None, **body):
    """The result of a song that succeeds, its metadata checked to be what the models know."""
    record = make(api, files, **body)
    assert record["status"] == "succeeded", record
    result = record["result"]
    assert list(result) == RESULT
    assert result["lm_model"] == LM
    assert result["bpm"] is None or 30 <= result["bpm"] <= 300
    assert result["keyscale"] is None or re.fullmatch(r"[A-G][#b♯♭]? (major|minor)", result["keyscale"])
    assert result["timesignature"] in (None, "2", "3", "4", "6")
    assert result["metas"]["vocal_language"] in LANGUAGES
    assert 10 <= result["duration"] <= 60
    return result


@pytest.mark.usefixtures("api")
async def test_who_is_told_that_the_lm_is_ready_may_ask_for_it(stack, tmp_path):
    """At once, although the frontend has not looked for itself yet."""
    services = Services(resolve({"state": str(tmp_path), "triton_url": stack.triton_grpc}, {}, {}))
    try:
        with pytest.raises(RequestError, match="LM is not ready yet"):
            services.require_lm("vllm")
        assert (await services.readiness()).lm == "ready"
        services.require_lm("vllm")
    finally:
        await services.songs.close()


def lines_of(result):
    """Lines of generation_info that speak of the LM: what it took, and what it wrote as a set."""
    lines = result["generation_info"].split("\n")
    [took] = [line for line in lines if line.startswith("LM: ")]
    assert (found := re.fullmatch(rf"LM: {LM} on (vllm|pt), (\d+) tokens read, (\d+) written", took)), took
    assert int(found[2]) > 10
    assert int(found[3]) > 0
    [wrote] = [line for line in lines if line.startswith("LM wrote: ")]
    [times] = [line for line in lines if line.startswith("Time: ")]
    return set(wrote.removeprefix("LM wrote: ").split(", ")), times


def data(api, result):
    return [audio(api, url).content for url in result["audio_paths"]]


def again(result, **changed):
    """The request that a result describes, without any wish."""
    metas = {name: value for name, value in result["metas"].items() if value != "N/A" and name != "genres"}
    return QUICK | {"metas": metas, "caption": metas.get("caption", ""), "lyrics": metas.get("lyrics", ""),
                    "seed": result["seed_value"]} | changed


def test_the_lm_is_ready(api):
    assert api.get("/readyz").json()["lm"] == "ready"


def test_a_wish_in_plain_words(api):
    result = result_of(api, **QUICK, sample_query="a soft Bengali love song for a quiet evening")
    wrote, times = lines_of(result)
    assert wrote >= {"bpm", "key_scale", "time_signature", "duration", "caption"}
    assert "audio codes" not in wrote
    assert "plan " in times
    assert "codes " not in times
    assert result["metas"]["vocal_language"] == "bn", "as the wish says"
    assert result["metas"]["caption"]
    once_more = result_of(api, **again(result))
    assert not any(line.startswith("LM") for line in once_more["generation_info"].split("\n"))
    assert data(api, once_more) == data(api, result), "seed, metadata, caption and lyrics are all of a song"


def test_an_instrumental_wish_has_no_words(api):
    result = result_of(api, **TEN, description="a long guitar solo")
    assert result["metas"]["lyrics"] == "[Instrumental]"


def test_the_user_wins_over_a_sample(api):
    own = {"bpm": 77, "keyScale": "F#m", "time_signature": "6/8", "caption": "my own", "lyrics": "la la",
           "vocal_language": "fr"}
    for wish in ({"sample_query": "a Japanese song"}, {"sample_mode": True}):
        result = result_of(api, **TEN, **own, **wish)
        lines_of(result)
        assert result["metas"] | {"genres": ""} == {
            "bpm": 77, "duration": 10, "genres": "", "keyscale": "F# minor", "timesignature": "6", "caption": "my own",
            "lyrics": "la la", "vocal_language": "fr"}


def test_a_sample_of_nothing(api):
    result = result_of(api, **QUICK, sample_mode=True)
    wrote, _ = lines_of(result)
    assert wrote >= {"bpm", "caption", "duration"}
    other = result_of(api, **QUICK | {"seed": 6}, sampleMode="yes")
    assert other["metas"] != result["metas"], "another seed is another song"
    assert result_of(api, **QUICK, sample_mode=True)["metas"] == result["metas"], "the same one is the same"


def test_formatting_betters_the_caption_and_keeps_the_rest(api):
    result = result_of(api, **TEN, caption="流行摇滚", lyrics="[Verse 1]\n走在街上...", use_format=True, bpm=72)
    wrote, _ = lines_of(result)
    assert wrote >= {"caption", "key_scale", "time_signature"}
    assert wrote.isdisjoint({"bpm", "lyrics", "duration"})
    assert result["metas"]["caption"] not in ("", "流行摇滚")
    assert (result["metas"]["lyrics"], result["bpm"], result["duration"]) == ("[Verse 1]\n走在街上...", 72, 10)


def test_what_is_missing_is_filled_in_unless_all_is_there(api):
    body = TEN | {"caption": "x", "lyrics": "la", "time_signature": "3"}
    plain = result_of(api, **body, use_cot_caption=False, use_cot_language=False)
    assert lines_of(plain)[0] == {"bpm", "key_scale"}
    assert (plain["metas"]["caption"], plain["metas"]["vocal_language"]) == ("x", "en")
    default = result_of(api, **body)
    assert lines_of(default)[0] == {"bpm", "key_scale", "vocal_language", "caption"}
    assert (default["metas"]["caption"] not in ("", "x"), default["timesignature"]) == (True, "3")
    spoken = result_of(api, **body, vocal_language="ko")
    assert lines_of(spoken)[0] == {"bpm", "key_scale", "caption"}
    assert spoken["metas"]["vocal_language"] == "ko"
    full = result_of(api, **KNOWN, caption="x", lyrics="la")
    assert "LM" not in full["generation_info"]


def test_no_duration_from_anyone_is_the_lms(api):
    result = result_of(api, **QUICK, caption="x", lyrics="la", bpm=100)
    assert "duration" in lines_of(result)[0]
    assert result["duration"] == int(result["duration"])


def test_thinking_makes_codes_for_every_item(api):
    body = KNOWN | {"caption": "x", "lyrics": "la", "batch_size": 3, "seed": "5,6,5"}
    result = result_of(api, **body, thinking=True)
    wrote, times = lines_of(result)
    assert wrote == {"audio codes"}
    assert "codes " in times
    first, second, third = data(api, result)
    assert first == third != second, "the codes are drawn by each item's seed"
    assert data(api, result_of(api, **body | {"batch_size": 1}, thinking=True)) == [first], "alone as in a batch"
    assert data(api, result_of(api, **body | {"batch_size": 1})) != [first], "without codes it is another song"
    for changed in ({"lm_temperature": 0}, {"lm_cfg_scale": 1}, {"lm_negative_prompt": "drums"}, {"lm_top_k": 1}):
        assert data(api, result_of(api, **body | {"batch_size": 1} | changed, thinking=True)) != [first], changed


def test_thinking_after_a_wish(api):
    result = result_of(api, **QUICK, sample_query="一首适合安静夜晚的柔和孟加拉情歌", thinking=True)
    assert lines_of(result)[0] >= {"caption", "audio codes"}
    once_more = result_of(api, **again(result, thinking=True))
    assert lines_of(once_more)[0] == {"audio codes"}
    assert data(api, once_more) == data(api, result)
    assert once_more["audio_codes"] == result["audio_codes"]


def test_codes_that_are_sent_back_make_the_same_songs(api):
    asked = QUICK | {"sample_query": "a calm waltz", "thinking": True, "batch_size": 2}
    result = result_of(api, **asked)
    codes = result["audio_codes"]
    assert [text.count("<|audio_code_") for text in codes] == [int(result["duration"] * 5)] * 2
    assert codes[0] != codes[1], "each item's are drawn by its seed"
    for name in ("audio_code_string", "audio_codes"):
        once_more = result_of(api, **again(result, thinking=True, batch_size=2, **{name: codes}))
        assert not any(line.startswith("LM") for line in once_more["generation_info"].split("\n"))
        assert data(api, once_more) == data(api, result)
        assert once_more["audio_codes"] == codes
    second = again(result, thinking=True, seed=result["seed_value"].split(",")[1], audio_codes=codes[1])
    assert data(api, result_of(api, **second)) == data(api, result)[1:], "alone as in the batch"
    other = result_of(api, **again(result, thinking=True, batch_size=2, audio_codes=codes[0]))
    assert other["audio_codes"] == [codes[0]] * 2, "one text is every item's"
    assert (data(api, other)[0] == data(api, result)[0], data(api, other)[1] == data(api, result)[1]) == (True, False)


def test_a_song_without_codes_has_none(api):
    assert result_of(api, **KNOWN, caption="x", lyrics="la")["audio_codes"] is None


def test_a_random_song(api):
    answer = api.post("/v1/music/random?thinking=no")
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["job_id", "status", "queue_position"]
    deadline = time.monotonic() + 120
    while (record := api.get(f"/v1/jobs/{answer.json()['job_id']}").json())["status"] in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert record["status"] == "succeeded", record
    assert len(record["result"]["audio_paths"]) == 2
    assert lines_of(record["result"])[0] >= {"caption", "bpm", "key_scale", "time_signature", "duration"}
    headers = {audio(api, url).headers["Content-Type"] for url in record["result"]["audio_paths"]}
    assert headers == {"audio/mpeg"}


def test_a_job_shows_that_the_lm_writes(api):
    job_id = api.post("/v1/music/generate", json=QUICK | {"sample_mode": True, "thinking": True}).json()["job_id"]
    seen = []
    while (record := api.get(f"/v1/jobs/{job_id}").json())["status"] in ("queued", "running"):
        if record["progress"]:
            assert 0 <= record["progress"]["done"] <= record["progress"]["total"]
            seen.append(record["progress"]["phase"])
        time.sleep(0.02)
    assert record["status"] == "succeeded", record
    assert "plan" in seen
    assert set(seen) <= {"plan", "codes", "condition", "denoise", "decode", "write"}


@pytest.mark.parametrize(("name", "engine"), [(LM, "vllm"), ("acestep-5Hz-lm-0.6B", "pt")])
def test_the_lm_by_name_and_engine(api, name, engine):
    result = result_of(api, **TEN, caption="x", lm_model_path=name, lm_backend=engine)
    assert f" on {engine}, " in result["generation_info"]


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_a_task_uses_the_lm_as_its_table_says(api, task):
    """With the flags that a client who sends none has; a caption that the LM rewrote would replace the task's."""
    files = SOURCE if task.needs_source else None
    result = result_of(api, files, **TEN, model="acestep-tiny-base", task_type=task.name, caption="mine", lyrics="la")
    if task.lm is LmPart.NOTHING:
        assert "LM" not in result["generation_info"]
        assert (result["metas"]["caption"], result["metas"]["vocal_language"], result["bpm"]) == ("mine", "en", None)
    else:
        assert lines_of(result)[0] == {"bpm", "key_scale", "time_signature", "vocal_language", "caption"}
        assert result["metas"]["caption"] != "mine"


@pytest.mark.parametrize("task", [task.name for task in TASKS.values() if task.lm is LmPart.NOTHING])
def test_a_task_without_the_lm_names_what_was_asked_of_it(api, task):
    record = make(api, SOURCE, **FEW, model="acestep-tiny-base", task_type=task, sample_query="pop", use_format=True,
                  thinking=True)
    assert record["status"] == "succeeded", record
    lines = record["result"]["generation_info"].split("\n")
    for name in ("sample_query", "use_format"):
        assert f"{name} was not used: {task} uses no LM" in lines
    assert f"thinking was not used: {task} follows its source" in lines
    assert not any(line.startswith("LM") for line in lines)


def test_thinking_makes_no_codes_for_a_task_with_a_source(api):
    for task in ("lego", "complete"):
        result = result_of(api, SOURCE, **TEN, model="acestep-tiny-base", task_type=task, caption="x", thinking=True)
        assert "audio codes" not in lines_of(result)[0]
        assert f"thinking was not used: {task} follows its source" in result["generation_info"].split("\n")


@pytest.mark.parametrize(("body", "detail"), [
    ({"lm_model_path": "/etc"}, f"lm_model_path: must be {LM}, the LM that is loaded"),
    ({"lm_backend": "tpu"}, "lm_backend: must be one of vllm, pt"),
    ({"lm_temperature": 2.1}, "lm_temperature: must be between 0 and 2"),
    ({"caption": "", "thinking": True}, "caption: give a caption, lyrics, sample_query or sample_mode; all are empty"),
])
def test_refusals(api, body, detail):
    answer = api.post("/v1/music/generate", json=SHORT | body)
    assert (answer.status_code, answer.json()) == (400, {"detail": detail})


def test_without_an_lm(start_stack):
    with httpx.Client(base_url=start_stack().api, timeout=30) as api:
        assert api.get("/readyz").json()["lm"] == "none"
        for name in ("thinking", "sampleMode", "format"):
            answer = api.post("/v1/music/generate", json=SHORT | {name: True})
            assert (answer.status_code, answer.json()) == (400, {"detail": f"{name}: {NONE}"})
        answer = api.post("/v1/music/random")
        assert (answer.status_code, answer.json()) == (400, {"detail": f"/v1/music/random: {NONE}"})
        result = make(api, **QUICK, caption="x")["result"]
        lines = result["generation_info"].split("\n")
        assert "5 Hz LM: not loaded (LM=none); caption, language and missing metadata were left as given" in lines
        assert (result["lm_model"], result["bpm"], result["duration"]) == (None, None, 30)
        assert result["metas"] == {"bpm": "N/A", "duration": 30, "genres": "N/A", "keyscale": "N/A",
                                   "timesignature": "N/A", "caption": "x", "vocal_language": "en"}
