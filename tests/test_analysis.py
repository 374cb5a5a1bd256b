"""Analyses over HTTP: what is asked of the pipeline, what is refused or named, what clients of upstream's read."""

# mypy: allow-untyped-calls

import io
import json
from typing import Any

import jsonschema
import numpy as np
import pytest
import soundfile

from frontend.chat.fields import read as read_chat
from frontend.errors import RequestError
from frontend.jobs.job import Progress, State, Upload
from frontend.live import Started
from frontend.native.routes import create_app
from frontend.native.submission import submission
from frontend.progress import percent
from frontend.songs.events import Findings, LmUse, parse
from tests.scripted import ended
from tests.serving import served
from tests.test_native_api import RESULT
from tests.test_native_fields import BOTH, LM, SCHEMA, TEN, WITH_LM, refusal

SEEDED = {"seed": 5, "use_random_seed": False}
CODES, FULL, TEXT = {"extract_codes_only": True}, {"full_analysis_only": True}, {"analysis_only": True}
RAIN: dict[str, Any] = TEXT | {"caption": "rain", "lyrics": "la"}
KINDS = {"codes": CODES, "understand": FULL, "metadata": RAIN}
# What upstream's api/job_analysis_runtime.py answers (6d467e4), key by key.
OF_CODES = ["status_message", "metas", "audio_codes", "audio_paths", "raw_audio_paths", "first_audio_path"]
OF_FULL = ["status_message", "bpm", "keyscale", "timesignature", "duration", "genre", "prompt", "lyrics", "language",
           "metas", "audio_codes", "audio_paths"]
OURS = ["file", "wave", "status", "create_time", "env", "prompt", "lyrics", "metas", "generation_info", "seed_value",
        "lm_model", "dit_model", "progress", "stage"]
WAV = io.BytesIO()
soundfile.write(WAV, np.full((48_000, 2), 0.1), 48_000, format="WAV")


def work(catalogue=WITH_LM, uploads=None, **body):
    uploads = uploads or ({} if "caption" in body else TEN)
    return submission(SEEDED | body, catalogue, uploads, lambda: 7)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_of_the_pipeline(kind):
    """Nothing but what the analysis uses, whatever else was sent."""
    plain = work(**KINDS[kind])
    jsonschema.validate(plain.song, SCHEMA)
    assert set(plain.song) == set(SCHEMA["properties"])
    assert (plain.song["kind"], plain.song["seeds"], plain.notes) == (kind, [5], ())
    rest = {"bpm": 90, "key_scale": "A minor", "time_signature": "3", "duration": 20, "vocal_language": "ja",
            "task_type": "lego", "track_name": "drums", "inference_steps": 60, "thinking": True, "sample_mode": True,
            "use_format": True, "audio_codes": "<|audio_code_1|>", "batch_size": 4, "audio_format": "wav",
            "lm_negative_prompt": "x", "constrained_decoding": False, "repaintingStart": 3, "timesteps": [0.5]}
    sent = work(**KINDS[kind], **rest)
    assert sent.song == plain.song
    field = next(iter(KINDS[kind]))
    assert set(sent.notes) == {f"{name} was not used: {field} has no use for it" for name in rest}


def test_what_each_uses():
    codes, full, text = (work(**body).song for body in KINDS.values())
    assert (codes["return"], full["return"], text["return"]) == (["codes"], ["codes"], [])
    assert (full["lm_temperature"], full["lm_top_p"], full["lm_top_k"]) == (0.3, 1.0, 0), "as upstream listens"
    assert (text["caption"], text["lyrics"], text["lm_temperature"], text["lm_top_p"]) == ("rain", "la", 0.85, 0.9)
    voice = {"lm_temperature": 0.5, "lm_top_k": 9, "lm_top_p": 0.7, "lm_repetition_penalty": 1.2,
             "use_cot_caption": False, "use_cot_language": False}
    asked = work(**RAIN, **voice, lm_backend="pt")
    assert {name: asked.song[name] for name in voice} == voice
    assert (asked.song["lm_engine"], asked.notes) == ("pt", ())
    assert work(**FULL, **voice).song == full
    assert work(**FULL, lm_backend="pt").song == full | {"lm_engine": "pt"}
    assert work(**CODES, model="tiny-base").song == codes | {"model": "tiny-base"}
    assert work(**TEXT, caption="x", lm_temperature=0, lm_top_k=5).notes == (
        "lm_top_k was not used: lm_temperature is 0",)


@pytest.mark.parametrize(("flags", "kind", "names"), [
    (("extract", "full", "analysis"), "codes", {"full_analysis_only": "extract", "analysis_only": "extract"}),
    (("extract", "analysis"), "codes", {"analysis_only": "extract"}),
    (("full", "analysis"), "understand", {"analysis_only": "full"}),
])
def test_the_first_one_wins_in_upstreams_order(flags, kind, names):
    spelt = {"extract": "extractCodesOnly", "full": "full_analysis_only", "analysis": "analysis_only"}
    called = {"extract": "extract_codes_only", "full": "full_analysis_only"}
    made = work(**{spelt[flag]: "yes" for flag in flags}, caption="x", uploads=TEN)
    assert made.song["kind"] == kind
    won = {f"{name} was not used: {called[winner]} wins" for name, winner in names.items()}
    assert won <= set(made.notes)
    assert len(made.notes) == len(won) + 1, "and the caption"


def test_files_that_are_not_used_are_named():
    both = TEN | {"reference_audio": Upload("b", 48_000)}
    for body, unused in ((CODES, ["reference_audio"]), (RAIN, ["src_audio", "reference_audio"])):
        made = work(uploads=both, **body)
        assert list(made.uploads) == [name for name in both if name not in unused]
        assert made.notes == tuple(f"{name} was not used: {next(iter(body))} has no use for it" for name in unused)


@pytest.mark.parametrize(("catalogue", "uploads", "body", "said"), [
    (BOTH, {}, CODES, "src_audio: is needed by extract_codes_only; upload "),
    (WITH_LM, {}, {"fullAnalysisOnly": 1}, "src_audio: is needed by fullAnalysisOnly; upload "),
    (BOTH, TEN, {"fullAnalysisOnly": 1}, f"fullAnalysisOnly: {LM}"),
    (BOTH, {}, TEXT, f"analysis_only: {LM}"),
    (WITH_LM, TEN, TEXT | {"caption": " "}, "caption: give a caption or lyrics for analysis_only; both are empty"),
    (WITH_LM, {}, CODES | {"src_audio": "/etc/passwd"}, "src_audio: must be uploaded as a file"),
    (BOTH, TEN, CODES | {"model": "gpt"}, "model: must be one of tiny-turbo, tiny-base"),
    (WITH_LM, TEN, FULL | {"lm_model_path": "x"}, "lm_model_path: must be acestep-5Hz-lm-tiny"),
    (BOTH, TEN, CODES | {"bpm": 5}, "bpm: must be"),
    (BOTH, TEN, {"extract_codes_only": [1]}, "extract_codes_only: must be true or false"),
])
def test_refusals(catalogue, uploads, body, said):
    assert refusal(catalogue, uploads, **body).startswith(said)


def test_codes_alone_need_no_lm():
    made = work(BOTH, **CODES, lm_model_path="x", lm_backend="pt")
    assert (made.song["kind"], made.song["lm_engine"]) == ("codes", None)


@pytest.mark.parametrize("name", ["extract_codes_only", "fullAnalysisOnly", "analysis_only"])
def test_a_chat_message_holds_no_analysis(name):
    for body, called in (({name: True}, name), ({"audio_config": {name: "yes"}}, f"audio_config.{name}")):
        with pytest.raises(RequestError) as error:
            read_chat(body)
        assert (error.value.status, error.value.detail) == (
            400, f"{called}: is a field of the native API alone; only false passes")
    assert read_chat({name: False}).values == read_chat({}).values


def test_the_pipelines_last_event():
    text = {"type": "done", "metadata": {"bpm": 90}, "seeds": [3], "timings": {"plan": 1.0}, "notes": ["n"],
            "lm": {"name": "a", "engine": "pt", "wrote": ["bpm"], "prompt_tokens": 3, "completion_tokens": 4}}
    use = LmUse("a", "pt", ("bpm",), 3, 4)
    assert parse(json.dumps(text).encode(), None) == Findings(None, (3,), {"plan": 1.0}, ("n",), {"bpm": 90}, use)


def test_progress_only_grows():
    steps = [Progress(phase, done, 1) for phase in ("encode", "plan") for done in (0, 1)]
    told = [percent({"kind": "understand"}, step) for step in steps]
    assert told == sorted(told)
    assert told[0] == 0 < told[1] < told[-1] == 99


@pytest.fixture
async def services(scripted, tmp_path):
    (tmp_path / "song.wav").write_bytes(WAV.getvalue())
    async with scripted.frontend(tmp_path / "state", lm=True, audio_root=str(tmp_path)) as running:
        yield running
    assert list((tmp_path / "state" / "spool").iterdir()) == []


@pytest.fixture
async def client(services):
    async with served(create_app(services)) as running:
        yield running


async def finished(client, services, path="/v1/music/generate", **sent):
    """The record of an analysis and its one entry of /query_result."""
    answer = await client.post(path, **sent)
    assert answer.status_code == 200, answer.text
    job_id = answer.json()["job_id"] if "job_id" in answer.json() else answer.json()["data"]["task_id"]
    assert (await ended(services, job_id)).state is State.SUCCEEDED
    record = (await client.get(f"/v1/jobs/{job_id}")).json()
    [task] = (await client.post("/query_result", json={"task_id_list": [job_id]})).json()["data"]
    assert task["status"] == 1
    [entry] = json.loads(task["result"])
    return record["result"], entry


FILE = {"src_audio": ("a.wav", WAV.getvalue())}
PLACES = {
    "multipart": ("/v1/music/generate", lambda body: {"data": body, "files": FILE}),
    "json": ("/v1/music/generate", lambda body: {"json": {"metas": body, "src_audio_path": "song.wav"} | SEEDED}),
    "task with a file": ("/release_task", lambda body: {"data": body, "files": {"ctx_audio": FILE["src_audio"]}}),
}


@pytest.mark.parametrize("place", PLACES)
async def test_codes_alone(client, services, place):
    path, sent = PLACES[place]
    result, entry = await finished(client, services, path, **sent({"extractCodesOnly": "true"} | SEEDED))
    assert list(result) == RESULT
    assert (result["first_audio_path"], result["second_audio_path"], result["audio_paths"]) == (None, None, [])
    assert result["audio_codes"] == ["<|audio_code_5|><|audio_code_7|>"]
    assert (result["status_message"], result["seed_value"]) == ("Audio Codes Extraction Success", "5")
    assert (result["duration"], result["bpm"], result["dit_model"]) == (2.5, None, "tiny-turbo")
    assert list(entry)[: len(OF_CODES)] == OF_CODES
    assert set(entry) == {*OF_CODES, *OURS}
    assert (entry["audio_codes"], entry["metas"]) == ("<|audio_code_5|><|audio_code_7|>", {})
    assert (entry["file"], entry["audio_paths"], entry["status"], entry["stage"]) == ("", [], 1, "succeeded")


async def test_the_full_analysis(client, services):
    result, entry = await finished(
        client, services, data={"full_analysis_only": "1", "metas": '{"bpm": 200}', "batch_size": "2"} | SEEDED,
        files=FILE)
    assert list(result) == [*RESULT, "prompt", "lyrics", "genre", "language"]
    told = {"prompt": "heard ", "lyrics": "", "genre": "folk", "language": "de"}
    assert {name: result[name] for name in told} == told
    assert (result["bpm"], result["genres"], result["duration"]) == (88, "folk", 2.5)
    assert result["metas"] == {"bpm": 88, "duration": 2.5, "genres": "folk", "keyscale": "N/A", "timesignature": "N/A",
                               "caption": "heard ", "vocal_language": "de"}
    assert result["audio_codes"] == ["<|audio_code_5|><|audio_code_7|>"]
    lines = result["generation_info"].split("\n")
    assert lines[0] == "🔎 Full analysis complete"
    assert lines[2:5] == ["🎲 Seeds: 5", "Model: tiny-turbo", "Time: plan 0.2s"]
    assert lines[5:] == [
        "bpm was not used: full_analysis_only has no use for it", "not used, and at their defaults: batch_size"]
    assert list(entry)[: len(OF_FULL)] == OF_FULL
    assert set(entry) == {*OF_FULL, *OF_CODES, *OURS}
    assert {name: entry[name] for name in told} == told
    assert entry["metas"] == {"bpm": 88, "caption": "heard ", "duration": 2.5, "genres": "folk", "language": "de"}
    assert entry["status_message"] == result["status_message"] == "Full Hardware Analysis Success"
    assert entry["audio_codes"] == "<|audio_code_5|><|audio_code_7|>"


async def test_the_analysis_of_a_text(client, services):
    result, entry = await finished(
        client, services, "/release_task", json=SEEDED | TEXT | {"prompt": "rain", "lyrics": "la"})
    assert list(result) == [*RESULT, "prompt", "lyrics", "genre", "language"]
    assert (result["prompt"], result["lyrics"], result["bpm"], result["duration"]) == ("heard rain", "la", 88, None)
    assert (result["audio_codes"], result["dit_model"]) == (None, "None (Analysis Only)")
    assert result["status_message"] == "Success"
    assert result["generation_info"].split("\n")[0] == "Analysis Only Mode Complete"
    assert list(entry) == OURS
    assert (entry["file"], entry["prompt"], entry["lyrics"], entry["seed_value"]) == ("", "heard rain", "la", "5")
    assert entry["metas"] == {
        "bpm": 88, "duration": None, "genres": "folk", "keyscale": "", "timesignature": "", "vocal_language": "de"}
    assert entry["dit_model"] == "None (Analysis Only)"


async def test_a_job_like_any_other(client, services, scripted):
    """It is tried again while the LM is away, told live, and ended by its client."""
    answer = await client.post("/v1/music/generate", json=TEXT | {"caption": "fail:503|plan:bpm step:plan:1/1"})
    job = await ended(services, answer.json()["job_id"])
    assert (job.state, scripted.attempts(job.id)) == (State.SUCCEEDED, 2)
    told = (await client.get(f"/v1/jobs/{job.id}/events")).text
    assert [line[7:] for line in told.split("\n") if line.startswith("event: ")] == [
        "running", "retrying", "running", "planning", "progress", "succeeded"]
    answer = await client.post("/v1/music/generate", json=TEXT | {"caption": "gate:never"})
    job_id = answer.json()["job_id"]
    async for entry in services.follow(job_id):
        if isinstance(entry.event, Started):
            break
    cancelled = (await client.delete(f"/v1/jobs/{job_id}")).json()
    assert (cancelled["status"], cancelled["error_code"]) == ("failed", "cancelled")
    counted = (await client.get("/metrics")).text
    assert 'acestep_frontend_jobs_ended_total{api="native",outcome="succeeded"} 1.0' in counted
    assert 'acestep_frontend_jobs_ended_total{api="native",outcome="cancelled"} 1.0' in counted


async def test_it_survives_a_restart_with_its_source(scripted, tmp_path):
    async with scripted.frontend(tmp_path, workers=0) as services, served(create_app(services)) as client:
        answer = await client.post("/v1/music/generate", data={"extract_codes_only": "1"}, files=FILE)
        job_id = answer.json()["job_id"]
    async with scripted.frontend(tmp_path) as services:
        job = await ended(services, job_id)
        assert job.result is not None
        assert (job.state, len(job.result["codes"])) == (State.SUCCEEDED, 1)
        assert scripted.request(job_id)["kind"] == "codes"


async def test_a_text_that_is_asked_for_is_no_analysis(client):
    sent = {"prompt": "rain", "analysisOnly": True, "param_obj": {"extract_codes_only": True}}
    answer = await client.post("/format_input", json=sent)
    assert answer.json()["data"]["caption"] == "better rain"
