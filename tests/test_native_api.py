"""The native API on a whole stack: songs, files, job records, every task with uploads, refusals."""

# mypy: allow-untyped-calls

import asyncio
import io
import json
import re
import time
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
import soundfile

from frontend.native.routes import create_app
from frontend.services import Services
from frontend.settings import resolve
from tests.test_native_fields import EDGES

RECORD = ["job_id", "status", "created_at", "started_at", "finished_at", "queue_position", "eta_seconds",
          "avg_job_seconds", "result", "error"]
RESULT = ["first_audio_path", "second_audio_path", "audio_paths", "generation_info", "status_message", "seed_value",
          "metas", "bpm", "duration", "keyscale", "timesignature", "genres", "lm_model", "dit_model",
          "audio_codes"]
# With these and a duration nothing is missing, so that the LM, whose weights are random here, has no part in a song.
KNOWN = {"bpm": 90, "key_scale": "A minor", "time_signature": "3"}
SHORT = KNOWN | {"caption": "a slow song", "audio_duration": 10, "batch_size": 1, "audio_format": "wav"}


@pytest.fixture(scope="module")
def api(stack):
    with httpx.Client(base_url=stack.api, timeout=30) as client:
        yield client


def make(api, files=None, **body):
    """A job's last record; with files the body is multipart."""
    answer = api.post("/v1/music/generate", **({"data": body, "files": files} if files else {"json": body}))
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["job_id", "status", "queue_position"]
    assert answer.json()["status"] == "queued"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        record = api.get(f"/v1/jobs/{answer.json()['job_id']}").json()
        if record["status"] in ("succeeded", "failed"):
            return record
        time.sleep(0.1)
    pytest.fail(f"the job did not end: {record}")


def audio(api, url):
    answer = api.get(url)
    assert answer.status_code == 200, answer.text
    return answer


def decoded(data):
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == 48_000
    assert samples.shape[1] == 2
    return samples


@pytest.fixture(scope="module")
def pair(api):
    """30 s with every default: two mp3 files."""
    record = make(api, caption="欢快的流行歌曲 🎵", lyrics="[Verse 1]\n你好世界", audio_duration=30, bpm=120,
                  keyscale="C Major", timesignature="4")
    assert record["status"] == "succeeded", record
    return record


def test_two_mp3_of_thirty_seconds_by_default(api, pair):
    urls = pair["result"]["audio_paths"]
    assert len(set(urls)) == 2
    assert [pair["result"][f"{n}_audio_path"] for n in ("first", "second")] == urls
    songs = []
    for url in urls:
        answer = audio(api, url)
        assert answer.headers["Content-Type"] == "audio/mpeg"
        assert len(answer.content) * 8 / 30 >= 192_000
        songs.append(decoded(answer.content))
        assert abs(len(songs[-1]) / 48_000 - 30) <= 0.1
        assert np.abs(songs[-1]).max() > 0.5
    assert np.abs(songs[0][: 48_000] - songs[1][: 48_000]).max() > 0.01, "two different songs"


def test_files_say_what_they_are(api, pair):
    seeds = pair["result"]["seed_value"].split(",")
    for url, seed in zip(pair["result"]["audio_paths"], seeds, strict=True):
        with soundfile.SoundFile(io.BytesIO(audio(api, url).content)) as file:
            assert file.title == "欢快的流行歌曲 🎵"
            assert file.artist == "ACE-Step (acestep-tiny-turbo)"
            assert file.comment.startswith(f"AI-generated; model acestep-tiny-turbo; seed {seed}; noise")


def test_the_record_has_the_documents_keys_in_order(pair):
    assert list(pair)[:10] == RECORD
    assert list(pair["result"]) == RESULT
    assert (pair["queue_position"], pair["eta_seconds"], pair["error"]) == (0, None, None)
    assert pair["created_at"] <= pair["started_at"] < pair["finished_at"]
    assert pair["avg_job_seconds"] > 0


def test_the_result_says_what_was_made(pair):
    result = pair["result"]
    assert re.fullmatch(r"\d+,\d+", result["seed_value"])
    lines = result["generation_info"].split("\n")
    assert lines[0] == "🎵 Generated 2 audios"
    assert re.fullmatch(r"⏱️ Total: \d+\.\ds", lines[1])
    assert lines[2] == f"🎲 Seeds: {result['seed_value']}"
    assert "Schedule: 1, 0.9545, 0.9, 0.8333, 0.75, 0.6429, 0.5, 0.3" in lines
    assert not any("LM" in line for line in lines), "four values given: the LM is not asked"
    assert result["metas"] == {
        "bpm": 120, "duration": 30, "genres": "N/A", "keyscale": "C major", "timesignature": "4",
        "caption": "欢快的流行歌曲 🎵", "lyrics": "[Verse 1]\n你好世界", "vocal_language": "en",
    }
    flat = {name: result[name] for name in ("bpm", "duration", "keyscale", "timesignature", "genres")}
    assert flat == {"bpm": 120, "duration": 30, "keyscale": "C major", "timesignature": "4", "genres": None}
    assert (result["dit_model"], result["lm_model"]) == ("acestep-tiny-turbo", "acestep-5Hz-lm-tiny")


def test_answers_are_one_line_of_json(api, pair):
    text = api.get(f"/v1/jobs/{pair['job_id']}").text
    assert "\n" not in text
    assert text.index('"status"') < text.index('"result"')
    assert json.loads(text) == pair


def test_wav_and_flac_hold_the_same_song_and_a_seed_gives_equal_bytes(api):
    records = [
        make(api, **SHORT | {"audio_format": audio_format, "seed": 7, "use_random_seed": False})
        for audio_format in ("wav", "WAV", "flac")
    ]
    assert [record["result"]["seed_value"] for record in records] == ["7"] * 3
    files = [audio(api, record["result"]["first_audio_path"]) for record in records]
    assert [file.headers["Content-Type"] for file in files] == ["audio/wav", "audio/wav", "audio/flac"]
    assert files[0].content == files[1].content
    wav, flac = decoded(files[0].content), decoded(files[2].content)
    assert wav.shape == (480_000, 2)
    assert np.array_equal(wav, flac)
    assert np.abs(wav).max() == pytest.approx(10 ** (-1 / 20), abs=1 / 32768)
    assert records[0]["result"]["second_audio_path"] is None


def test_an_item_of_a_batch_is_the_song_of_its_seed(api):
    batch = make(api, **SHORT | {"seed": "41,7", "use_random_seed": False, "batch_size": 3})["result"]
    seeds = batch["seed_value"].split(",")
    assert seeds[:2] == ["41", "7"]
    alone = make(api, **SHORT | {"seed": int(seeds[2]), "use_random_seed": False})["result"]
    third = audio(api, batch["audio_paths"][2]).content
    assert np.array_equal(decoded(third), decoded(audio(api, alone["first_audio_path"]).content))


def test_each_model_and_its_aliases(api):
    base = make(api, **SHORT | {"model": "acestep-tiny-base", "inference_steps": 4})["result"]
    assert base["dit_model"] == "acestep-tiny-base"
    turbo = make(api, **SHORT | {"model": "acestep-v15-turbo", "timesteps": "0.97,0.5,0", "lyrics": "[inst]"})["result"]
    assert turbo["dit_model"] == "acestep-tiny-turbo"
    assert "Schedule: 0.9545, 0.5" in turbo["generation_info"]
    assert turbo["metas"]["lyrics"] == "[Instrumental]"


def test_a_job_runs_on_while_its_client_is_away_and_shows_progress(stack):
    with httpx.Client(base_url=stack.api) as client:
        job_id = client.post("/v1/music/generate", json=SHORT | {"audio_duration": 30}).json()["job_id"]
    seen = set()
    with httpx.Client(base_url=stack.api) as client:
        while (record := client.get(f"/v1/jobs/{job_id}").json())["status"] in ("queued", "running"):
            if record["progress"]:
                assert 0 <= record["progress"]["done"] <= record["progress"]["total"]
                seen.add(record["progress"]["phase"])
            time.sleep(0.05)
    assert record["status"] == "succeeded"
    assert seen <= {"condition", "denoise", "decode", "write"}
    assert seen, "no progress was shown"


def sound(container, rate, channels, seconds=11.0):
    """An upload: quiet noise over a tone, no louder than 0.4."""
    frames = round(rate * seconds)
    tone = 0.3 * np.sin(2 * np.pi * 330 * np.arange(frames) / rate)
    wave = tone[:, None] + np.random.default_rng(9).uniform(-0.1, 0.1, (frames, channels))
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=container)
    return file.getvalue()


FLAC = sound("FLAC", 48_000, 2)
MP3 = sound("MP3", 44_100, 1)
SOURCE = {"src_audio": ("song.flac", FLAC)}
FEW = KNOWN | {"batch_size": 1, "audio_format": "wav", "inference_steps": 2, "seed": 5, "use_random_seed": False}


def song_of(api, files=None, **body):
    """int16 samples [n, 2] and the result of a short song that succeeds."""
    record = make(api, files, **FEW | body)
    assert record["status"] == "succeeded", record
    samples, _ = soundfile.read(
        io.BytesIO(audio(api, record["result"]["first_audio_path"]).content), dtype="int16", always_2d=True)
    return samples, record["result"]


@pytest.mark.parametrize(("model", "task"), [
    *(("acestep-tiny-base", task) for task in ("text2music", "cover", "lego", "extract", "complete")),
    ("acestep-tiny-turbo", "cover"),
])
def test_each_task_makes_a_song_from_uploads(api, model, task):
    """A 44.1 kHz mono mp3 as source, a 48 kHz stereo flac as reference; repaint has tests of its own."""
    files = {"src_audio": ("a.mp3", MP3), "reference_audio": ("b.flac", FLAC)}
    samples, result = song_of(
        api, files, model=model, task_type=task, caption="x", audio_duration=12, track_name="vocals",
        track_classes="drums,bass")
    seconds = 12 if task == "text2music" else 11
    assert samples.shape == (seconds * 48_000, 2)
    assert (result["duration"], result["dit_model"]) == (seconds, model)
    assert np.abs(samples).max() == pytest.approx(32768 * 10 ** (-1 / 20), abs=1)
    lines = result["generation_info"].split("\n")
    assert ("src_audio was not used: text2music follows none" in lines) == (task == "text2music")
    assert ("audio_duration was not used: cover has its source's length" in lines) == (task == "cover")


@pytest.mark.parametrize("model", ["acestep-tiny-base", "acestep-tiny-turbo"])
def test_repaint_keeps_samples_and_level_outside_its_region(api, model):
    source, _ = soundfile.read(io.BytesIO(FLAC), dtype="int16")
    samples, result = song_of(
        api, SOURCE, model=model, task_type="repaint", repainting_start=3, repainting_end="6.5", caption="x")
    assert samples.shape == source.shape
    assert result["duration"] == 11
    begin, end = 3 * 48_000, int(6.5 * 48_000)
    assert np.array_equal(samples[:begin], source[:begin])
    assert np.array_equal(samples[end:], source[end:])
    assert np.abs(samples[begin + 9_600 : end - 9_600].astype(int) - source[begin + 9_600 : end - 9_600]).mean() > 100


def test_repaint_goes_on_after_the_end_of_an_mp3(api):
    samples, result = song_of(
        api, {"srcAudio": ("a.mp3", MP3)}, task_type="repaint", repaintingStart="9", repaintingEnd="14")
    assert (len(samples), result["duration"]) == (14 * 48_000, 14)
    kept, rate = soundfile.read(io.BytesIO(MP3), dtype="float32")
    assert rate == 44_100
    middle = samples[: 9 * 48_000 : 160] / 32768, kept[: 9 * 44_100 : 147]  # both 300 Hz apart: the same instants
    assert np.abs(middle[0][100:-100, 0] - middle[1][100:-100]).max() < 0.05
    assert np.array_equal(samples[: 9 * 48_000, 0], samples[: 9 * 48_000, 1]), "mono on both sides"


def test_a_cover_follows_its_source_and_a_reference_changes_it(api):
    body = {"task_type": "cover", "audio_cover_strength": 1}
    plain, _ = song_of(api, SOURCE, **body)
    again, _ = song_of(api, SOURCE, **body)
    other, _ = song_of(api, {"src_audio": ("a.mp3", MP3)}, **body)
    referred, _ = song_of(api, SOURCE | {"reference_audio": ("a.mp3", MP3)}, **body)
    assert np.array_equal(plain, again), "an upload is decoded the same every time, its posterior drawn by the seed"
    assert not np.array_equal(plain, other)
    assert not np.array_equal(plain, referred)


def test_a_song_from_codes_needs_no_lm(api):
    codes = ["".join(f"<|audio_code_{(k * i) % 64_000}|>" for i in range(55)) for k in (101, 977)]
    body = {"thinking": True, "batch_size": 2, "seed": "5,5"}
    first, result = song_of(api, **body, audio_code_string=codes)
    second = decoded(audio(api, result["second_audio_path"]).content)
    assert (len(first), result["duration"]) == (11 * 48_000, 11)
    assert np.abs(first / 32768 - second).max() > 0.01, "each item follows its own codes"
    one, _ = song_of(api, thinking=True, audio_code_string=codes[0])
    assert np.array_equal(first, one)


ONLY = "it must be wav, flac, ogg, opus, mp3, m4a, aac, webm, mp4 or mov"


@pytest.mark.parametrize(("files", "body", "detail"), [
    ({"src_audio": ("a.wav", b"")}, {"task_type": "cover"}, f"src_audio: is empty; {ONLY}"),
    ({"src_audio": ("a.mp3", b"words " * 999)}, {"task_type": "cover"}, f"src_audio: cannot be read; {ONLY}"),
    (SOURCE, {"task_type": "repaint", "repainting_start": 5, "repainting_end": 4},
     "repainting_end: must be -1 or above repainting_start"),
    (SOURCE, {"task_type": "repaint", "repainting_start": 11},
     "repainting_start: must be before the source's end, 11 seconds"),
    (SOURCE, {"task_type": "extract"},
     "task_type: extract is not a task of acestep-tiny-turbo; these models can: acestep-tiny-base"),
    (None, {"thinking": True, "audio_code_string": "<|audio_code_64000|>"},
     "audio_code_string: must have codes between 0 and 63999"),
    (None, {"task_type": "cover"}, "src_audio: is needed by cover; upload wav, flac, ogg, opus, mp3, m4a, aac, webm, "
                                   "mp4 or mov, or audio_code_string with thinking=true"),
])
def test_what_no_song_can_be_made_of_is_a_400_in_one_line(api, stack, files, body, detail):
    answer = api.post("/v1/music/generate", **({"data": body, "files": files} if files else {"json": body}))
    assert (answer.status_code, answer.json()) == (400, {"detail": detail})
    assert list((stack.state / "uploads").iterdir()) == []


def test_audio_by_head_and_range(api, pair):
    url = pair["result"]["first_audio_path"]
    whole = audio(api, url)
    head = api.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.content))
    part = api.get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(whole.content)}"
    assert api.get(url, headers={"Range": "bytes=-7"}).content == whole.content[-7:]
    assert api.get(url, headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416
    assert api.get(url, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize("path", [
    "/etc/hostname", "../jobs.sqlite", "/audio/../jobs.sqlite", "jobs.sqlite", "/audio/", "\x00", "{file}", "{url}/",
    " {url}",
])
def test_no_other_path_is_served(api, stack, pair, path):
    [known] = parse_qs(urlsplit(pair["result"]["first_audio_path"]).query)["path"]
    on_disk = str(stack.state / "audio" / known.rsplit("/", 1)[1])
    answer = api.get("/v1/audio", params={"path": path.replace("{url}", known).replace("{file}", on_disk)})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Audio file not found"})


@pytest.mark.parametrize(("name", "value", "text"), [(name, bad[0], text) for name, _, bad, text in EDGES])
def test_out_of_range_is_a_400_in_one_line(api, name, value, text):
    answer = api.post("/v1/music/generate", json={"caption": "x", name: value})
    assert answer.status_code == 400
    assert list(answer.json()) == ["detail"]
    assert answer.json()["detail"].startswith(f"{name}: {text}")
    assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path", "status", "detail"), [
    ("GET", "/v1/jobs/no-such-job", 404, "Job not found"),
    ("GET", "/v1/jobs/%00", 404, "Job not found"),
    ("GET", "/nothing", 404, "Not Found"),
    ("GET", "/v1/music/generate", 405, "Method Not Allowed"),
    ("DELETE", "/v1/models", 405, "Method Not Allowed"),
    ("GET", "/v1/audio", 400, "path: is missing"),
    ("GET", "/v1/music/random", 405, "Method Not Allowed"),
    ("POST", "/v1/music/generate", 415,
     "Unsupported Content-Type: (missing); use application/json, application/x-www-form-urlencoded, "
     "or multipart/form-data"),
])
def test_errors_have_one_shape(api, stack, method, path, status, detail):
    answer = api.request(method, stack.api + path)
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})
    assert answer.headers["Content-Type"] == "application/json"
    assert ("Allow" in answer.headers) == (status == 405)


def test_an_unreadable_or_huge_body_is_refused(api):
    headers = {"Content-Type": "application/json"}
    assert api.post("/v1/music/generate", content=b"{", headers=headers).json() == {
        "detail": "Invalid JSON: Expecting property name enclosed in double quotes at line 1 column 2"}
    huge = api.post("/v1/music/generate", content=b" " * (2 << 20), headers=headers)
    assert (huge.status_code, huge.json()) == (413, {"detail": "Request body too large: at most 1048576 bytes"})
    empty = api.post("/v1/music/generate", json={})
    assert empty.json() == {"detail": "caption: give a caption, lyrics, sample_query or sample_mode; all are empty"}


def test_models_and_probes(api):
    models = api.get("/v1/models").json()
    assert list(models) == ["models", "default_model", "object", "data"]
    assert [list(model)[:2] for model in models["models"]] == [["name", "is_default"]] * 2
    assert [(model["name"], model["is_default"]) for model in models["models"]] == [
        ("acestep-tiny-turbo", True), ("acestep-tiny-base", False)]
    assert models["default_model"] == "acestep-tiny-turbo"
    assert all(model["audio_is_noise"] for model in models["models"])
    assert api.get("/livez").status_code == 200
    assert api.get("/readyz").json()["status"] == "ok"


def own_settings(tmp_path, url, **flags):
    return resolve({"state": str(tmp_path), "triton_url": url, **flags}, {}, {})


async def test_before_the_models_are_ready(tmp_path):
    async with Services(own_settings(tmp_path, "127.0.0.1:9")) as services:
        client = create_app(services).test_client()
        refused = await client.post("/v1/music/generate", json=SHORT)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert await refused.get_json() == {"detail": "Models are not ready yet"}
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/health")).status_code == 200
        assert await (await client.get("/v1/models")).get_json() == {
            "models": [], "default_model": None, "object": "list", "data": []}


async def test_a_full_queue_and_a_stop_in_the_middle(stack, tmp_path):
    """One worker, two places: the fourth job is refused; a second frontend makes what the first had begun."""
    settings = own_settings(tmp_path, stack.triton_grpc, queue_workers="1", queue_maxsize="2", avg_job_seconds="7")
    body = SHORT | {"audio_duration": 40}
    async with Services(settings) as services:
        client = create_app(services).test_client()
        await _until(lambda: services.catalogue is not None)
        jobs = []
        for place in (1, 1, 2):
            answer = await (await client.post("/v1/music/generate", json=body)).get_json()
            assert answer["queue_position"] == place
            jobs.append(answer["job_id"])
            if place == 1 and len(jobs) == 1:
                await _until_status(client, jobs[0], "running")
        refused = await client.post("/v1/music/generate", json=body)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
        assert await refused.get_json() == {"detail": "Server busy: queue is full"}
        records = [await (await client.get(f"/v1/jobs/{job_id}")).get_json() for job_id in jobs]
        assert [(record["queue_position"], record["eta_seconds"], record["avg_job_seconds"]) for record in records] == [
            (0, None, 7), (1, 7, 7), (2, 14, 7)]
        begun = await services.store.get(jobs[0])
        assert begun is not None
    assert list((tmp_path / "spool").iterdir()) == []
    async with Services(settings) as services:
        client = create_app(services).test_client()
        record = await _until_status(client, jobs[0], "succeeded")
        assert record["result"]["seed_value"] == ",".join(map(str, begun.work.song["seeds"]))
        ended = await services.store.get(jobs[0])
        assert ended is not None
        assert ended.attempts == 1, "a stop does not count as an attempt"


async def _until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  nothing to wait on
            await asyncio.sleep(0.02)


async def _until_status(client, job_id, status):
    async with asyncio.timeout(60):
        while True:
            record = await (await client.get(f"/v1/jobs/{job_id}")).get_json()
            if record["status"] == status:
                return record
            assert record["status"] != "failed", record
            await asyncio.sleep(0.05)
