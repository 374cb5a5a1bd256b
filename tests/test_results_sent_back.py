"""What answers say of a song can be sent back as it stands: ours, and those in the original's documents."""

# mypy: allow-untyped-calls

import json
import re

import jsonschema
import pytest

from frontend.chat.fields import read as read_chat
from frontend.chat.reply import describe
from frontend.jobs.job import Job, State, Upload, Work
from frontend.native.fields import TABLE, read
from frontend.native.record import record
from frontend.native.routes import create_app
from frontend.native.submission import submission
from frontend.native.task_fields import read_task
from frontend.native.tasks import _results as task_results
from tests.scripted import ended
from tests.serving import served
from tests.test_native_fields import SCHEMA, WITH_LM, refusal, song, work_of

FULL = {"caption": "a waltz\nin rain", "lyrics": "[Verse]\nla", "bpm": 90, "key_scale": "E♭ minor",
        "time_signature": "6", "vocal_language": "yue", "duration": 20.5, "genres": "waltz"}
BARE = {"caption": "x", "lyrics": "[Instrumental]", "bpm": None, "key_scale": "", "time_signature": "",
        "vocal_language": "unknown", "duration": 30.0}


def job(metadata, codes=None, seeds=(1, 2**32 - 1)):
    """A finished job whose pipeline said this of its song."""
    result = {
        "audio": [f"/audio/{i}.mp3" for i in range(len(seeds))], "model": "tiny-turbo", "seeds": list(seeds),
        "duration": metadata["duration"], "schedule": [1.0], "notes": [], "metadata": metadata, "lm": None,
        "timings": dict.fromkeys(("plan", "codes", "condition", "denoise", "decode"), 0.0),
        "lm_model": "acestep-5Hz-lm-tiny", "codes": codes,
    }
    return Job("a", State.SUCCEEDED, Work({"caption": "x"}, "mp3"), 1.0, 2.0, 3.0, result=result)


def shown(metadata, **of_job):
    """The result as the job's record has it, as its clients read it."""
    return json.loads(json.dumps(record(job(metadata, **of_job), 1.0, 1)["result"]))


def said(metadata):
    """The metadata's values in a song's request."""
    asked = {name: metadata[name] for name in ("caption", "bpm", "key_scale", "time_signature", "duration")}
    return asked | {"vocal_language": metadata["vocal_language"], "lyrics": metadata["lyrics"]}


@pytest.mark.parametrize("metadata", [FULL, BARE])
def test_every_value_of_a_result_by_its_own_name(metadata):
    result, names = shown(metadata), {"keyscale": "key_scale", "timesignature": "time_signature"}
    for values in (result, result["metas"]):
        for name in ("bpm", "duration", "keyscale", "timesignature"):
            for body in ({name: values[name]}, {"metas": {name: values[name]}}, {"param_obj": {name: values[name]}}):
                read_back = read_task(body)[{"duration": "audio_duration"}.get(name, names.get(name, name))]
                assert read_back == metadata[names.get(name, name)], body


@pytest.mark.parametrize("metadata", [FULL, BARE])
@pytest.mark.parametrize("place", ["metas", "meta", "user_metadata", None])
def test_all_metas_make_the_same_request(metadata, place):
    metas = shown(metadata)["metas"]
    for sent in ({place: metas}, {place: json.dumps(metas)}) if place else (metas,):
        request = submission(sent, WITH_LM).song
        assert {name: request[name] for name in said(metadata)} == said(metadata)
        assert request["instrumental"] is (metadata is BARE)


def test_a_whole_result_makes_the_same_songs():
    result = shown(FULL, codes=[[5] * 103, [6] * 103])
    body = result | {"use_random_seed": False, "thinking": True}
    work = submission(body, WITH_LM)
    assert {name: work.song[name] for name in said(FULL)} == said(FULL)
    assert (work.song["seeds"], work.song["model"], work.song["codes"]) == (
        [1, 2**32 - 1], "tiny-turbo", [[5] * 103, [6] * 103])
    [line] = [line for line in work.notes if line.startswith("not used, because")]
    assert line.endswith("first_audio_path, second_audio_path, audio_paths, generation_info, status_message, genres, "
                         "metas.genres"), "there is nothing to use these for, and that is said"
    assert list(work.notes) == ["lm_model was not used: the LM has nothing to write", line]


@pytest.mark.parametrize("metadata", [FULL, BARE])
def test_an_entry_of_query_result(metadata):
    [entry, _] = json.loads(json.dumps(task_results(job(metadata))))
    work = submission(entry | {"use_random_seed": False}, WITH_LM)
    wanted = said(metadata)
    assert {name: work.song[name] for name in wanted} == wanted
    assert work.song["seeds"] == [1, 2**32 - 1]


@pytest.mark.parametrize(("seconds", "body", "uploads"), [
    (4.0, {"thinking": True, "audio_codes": "<|audio_code_5|>" * 20}, None),
    (2.5, {"task_type": "cover"}, {"src_audio": Upload("a", 120_000)}),
])
def test_a_song_as_short_as_what_it_follows(seconds, body, uploads):
    for name in ("duration", "metas"):
        sent = {"duration": seconds} if name == "metas" else seconds
        request = song(uploads=uploads, **body, **{name: sent})
        jsonschema.validate(request, SCHEMA)
        assert request["duration"] is None
    assert refusal(duration=seconds) == "duration: must be between 10 and 600"
    if not uploads:
        assert refusal(**body, duration=3) == "duration: must be between 10 and 600"


@pytest.mark.parametrize("metadata", [FULL, BARE | {"time_signature": "4", "bpm": 120, "key_scale": "A minor"}])
def test_the_lines_of_a_chat_answer(metadata):
    names = {"BPM": "bpm", "Duration": "duration", "Key": "key_scale", "Time Signature": "time_signature",
             "Language": "vocal_language"}
    lines = dict(re.findall(r"^\*\*(.+?):\*\* (.+)$", describe(metadata), re.MULTILINE))
    assert set(names) <= set(lines)
    for name, field in names.items():
        for body in ({field: lines[name]}, {"audio_config": {field: lines[name]}}):
            assert read_chat(body)[field] == metadata[field]


ORIGINAL = [  # of the native document's example, of the code, of the LM's prompt, of the chat document's form
    ({"bpm": 120, "duration": 30, "genres": "", "keyscale": "C Major", "timesignature": "4"},
     (120, 30.0, "C major", "4", "en")),
    ({"bpm": "N/A", "duration": "N/A", "genres": "N/A", "keyscale": "N/A", "timesignature": "N/A",
      "prompt": "upbeat pop song", "lyrics": "Hello world"}, (None, None, "", "", "en")),
    ({"bpm": "120", "duration": "30 seconds", "keyscale": "F# minor", "timesignature": "6/8", "language": "no"},
     (120, 30.0, "F# minor", "6", "no")),
    ({"bpm": "120", "duration": "30.0s", "keyscale": "Bb Major", "timesignature": "6/4", "language": "zh"},
     (120, 30.0, "Bb major", "6", "zh")),
]


@pytest.mark.parametrize(("metas", "values"), ORIGINAL)
def test_the_originals_metas(metas, values):
    for body in (metas, {"metas": metas}, {"metas": json.dumps(metas)}):
        for reader in (read, read_task):
            fields = reader(body)
            assert tuple(fields[name] for name in (
                "bpm", "audio_duration", "key_scale", "time_signature", "vocal_language")) == values


def test_the_originals_result():
    """As its document shows it."""
    body = {
        "file": "/v1/audio?path=...", "wave": "", "status": 1, "create_time": 1700000000, "env": "development",
        "prompt": "upbeat pop song", "lyrics": "Hello world", "metas": ORIGINAL[0][0], "generation_info": "...",
        "seed_value": "12345,67890", "lm_model": "acestep-5Hz-lm-0.6B", "dit_model": "acestep-v15-turbo"}
    work = submission(body | {"use_random_seed": False}, WITH_LM)
    assert (work.song["caption"], work.song["bpm"], work.song["seeds"], work.song["model"]) == (
        "upbeat pop song", 120, [12345, 67890], "tiny-turbo")


def test_the_names_of_results_are_fields():
    """All but those that tell of the making."""
    names = {name for entry in TABLE for name in entry.names}
    assert set(shown(FULL)) - names == {
        "first_audio_path", "second_audio_path", "audio_paths", "generation_info", "status_message", "metas", "genres"}
    assert set(shown(FULL)["metas"]) - names == {"genres"}


async def test_over_http(scripted, tmp_path):
    """A finished job's result is a request for the same song, in JSON and in forms, by every route."""
    sent = {"caption": "x", "lyrics": "la\r\nla", "bpm": "100 bpm", "keyscale": "Am", "duration": "12 s",
            "thinking": True, "vocal_language": "pt-BR", "seed": [2**40 + 3, 9], "use_random_seed": False,
            "audio_format": "wav"}
    async with (
        scripted.frontend(tmp_path, lm=True) as services,
        served(create_app(services)) as client,
    ):
        async def made(path, **request):
            answer = (await client.post(path, **request)).json()
            job_id = (answer.get("data") or answer).get("job_id") or answer["data"]["task_id"]
            return await ended(services, job_id), (await client.get(f"/v1/jobs/{job_id}")).json()["result"]

        first, result = await made("/v1/music/generate", json=sent)
        assert "seed was taken modulo 4294967296: 1099511627779 became 3" in result["generation_info"]
        again = result | {"use_random_seed": False, "thinking": True, "audio_format": "wav"}
        form = {name: value if isinstance(value, str | list) else json.dumps(value) for name, value in again.items()}
        for path in ("/v1/music/generate", "/release_task"):
            for request in ({"json": again}, {"data": form}, {"data": form, "files": [("unused", ("", b""))]}):
                job, repeated = await made(path, **request)
                assert {name: repeated[name] for name in ("metas", "seed_value", "audio_codes", "dit_model")} == {
                    name: result[name] for name in ("metas", "seed_value", "audio_codes", "dit_model")}
                assert {name: job.work.song[name] for name in ("seeds", *said(FULL))} == {
                    name: first.work.song[name] for name in ("seeds", *said(FULL))}


def test_nothing_is_said_of_metadata_that_is_used_or_not_set():
    for place in ("metas", "metadata"):
        assert work_of({place: shown(FULL)["metas"] | {"genres": "N/A"}}).notes == ()
        assert work_of({place: shown(BARE)["metas"]}).notes == ()
