"""What was sent and not used is named, with the reason; what was used, and what changes nothing, is not."""

# mypy: allow-untyped-calls

import io

import numpy as np
import pytest
import soundfile

from frontend.catalogue import Catalogue
from frontend.chat.fields import NATIVE_NAMES
from frontend.chat.fields import TABLE as CHAT
from frontend.chat.fields import read as read_chat
from frontend.chat.messages import deciding_message
from frontend.chat.request import chat_work, read_wish
from frontend.defaults import UPSTREAM
from frontend.jobs.job import Upload
from frontend.native import usage
from frontend.native.fields import FILES, TABLE
from frontend.native.routes import create_app
from frontend.native.submission import submission
from frontend.native.usage import ALWAYS, USES, when
from frontend.uploads import Files
from tests.scripted import ended
from tests.serving import served
from tests.test_native_fields import BASE, BOTH, DESCRIBED, TEN, TURBO, WITH_LM

CODES = "<|audio_code_5|>" * 50
ALL_FOUR = {"bpm": 90, "key_scale": "A minor", "time_signature": "3", "duration": 20}
LEGO_SFT = Catalogue.from_describe(DESCRIBED | {"models": [TURBO, BASE | {"is_lego_sft": True}]})
TASKS_WITH_SOURCE = ("cover", "cover-nofsq", "repaint", "lego", "extract", "complete")
ON_BASE = {"model": "tiny-base"}


def notes(catalogue=BOTH, uploads=None, **body):
    return submission({"caption": "x", **body}, catalogue, uploads, lambda: 7).notes


def test_every_field_has_an_entry_and_no_other_has():
    chat = {NATIVE_NAMES.get(entry.name, entry.name) for entry in CHAT}
    assert set(USES) == {entry.name for entry in TABLE} | chat | set(FILES.values())
    for name, needs in USES.items():
        assert needs == ALWAYS or all(need.when for need in needs[:1]), name
        assert when(name)


REGION = {"task_type": "repaint", "repainting_start": 1}
NEEDS = [  # sent, what is said, beside which the same is used
    ({"audio_codes": CODES}, "it needs thinking=true", {"thinking": True}),
    ({"guidanceScale": 3}, "tiny-turbo is a turbo model, without guidance", ON_BASE),
    ({"use_adg": True}, "tiny-turbo is a turbo model, without guidance", ON_BASE),
    ({"cfg_interval_start": 0.1}, "tiny-turbo is a turbo model, without guidance", ON_BASE),
    ({"cfgIntervalEnd": 0.1}, "tiny-turbo is a turbo model, without guidance", ON_BASE),
    ({"repainting_start": 1}, "text2music has no region", {"task_type": "repaint"}),
    ({"repainting_end": 3}, "text2music has no region", {"task_type": "lego"} | ON_BASE),
    ({"repaint_mode": "balanced"}, "text2music has no region", REGION | {"task_type": "lego"} | ON_BASE),
    ({"repaintStrength": 1}, "text2music has no region", REGION | {"repaint_mode": "balanced"}),
    ({"seed": 5}, "use_random_seed is true", {"use_random_seed": False}),
    ({"sampler_mode": "heun"}, None, {}),
    ({"dcw_mode": "low"}, "dcw_enabled is false", {"dcw_enabled": True}),
    ({"dcw_scaler": 0.1}, "dcw_enabled is false", {"dcw_enabled": True}),
    ({"dcw_high_scaler": 0.1}, "dcw_enabled is false", {"dcw_enabled": True}),
    ({"cover_noise_strength": 0.5}, "text2music begins with noise", {"task_type": "cover-nofsq"}),
    ({"cover_noise_strength": 0.5}, "text2music begins with noise", {"task_type": "cover"}),
    ({"cover_noise_strength": 0.5}, "text2music begins with noise", {"thinking": True, "audio_codes": CODES}),
    ({"audioCoverStrength": 0.5}, "text2music follows no audio codes", {"thinking": True, "audio_codes": CODES}),
    ({"audio_cover_strength": 0.5}, "text2music follows no audio codes", {"task_type": "extract"} | ON_BASE),
    ({"track_name": "drums"}, "text2music has no tracks", {"task_type": "lego"} | ON_BASE),
    ({"trackClasses": "drums"}, "text2music has no tracks", {"task_type": "complete"} | ON_BASE),
    ({"track_name": "drums"}, "text2music has no tracks", {"instruction": "Play {TRACK_NAME}"}),
]


@pytest.mark.parametrize(("sent", "reason", "beside"), NEEDS)
def test_a_field_is_named_unless_it_has_what_it_needs(sent, reason, beside):
    [name] = sent
    assert notes(**sent) == (() if reason is None else (f"{name} was not used: {reason}",))
    assert notes(uploads=TEN if "task_type" in beside else None, **sent, **beside) == ()
    if next(entry for entry in TABLE if name in entry.names).nested:
        assert notes(metas=sent) == notes(**sent), "in the metadata it has the same name"


@pytest.mark.parametrize(("body", "lines"), [
    ({"guidance_scale": 1, "use_adg": True, "cfg_interval_start": 0.5, "cfg_interval_end": 0.6} | ON_BASE,
     [f"{name} was not used: guidance_scale is not above 1"
      for name in ("use_adg", "cfg_interval_start", "cfg_interval_end")]),
    ({"timesteps": "0.9,0.5", "inference_steps": 2, "shift": 1},
     [f"{name} was not used: timesteps win" for name in ("inference_steps", "shift")]),
    ({"shift": 2.4}, []), ({"shift": 5}, []),
    ({"sampler_mode": "heun", "infer_method": "sde"}, ["sampler_mode was not used: infer_method sde is always euler"]),
    ({"dcw_enabled": True, "dcw_mode": "low", "dcw_high_scaler": 0.5},
     ["dcw_high_scaler was not used: dcw_mode is not double"]),
    ({"track_name": "drums", "instruction": "Play it"}, ["track_name was not used: instruction has no place for it"]),
    ({"repaint_latent_crossfade_frames": 5, "repaintWavCrossfadeSec": 1},
     ["repaint_latent_crossfade_frames was not used: repaint_mode decides",
      "repaintWavCrossfadeSec was not used: repaint_mode decides"]),
    ({"global_caption": "slow"}, ["global_caption was not used: tiny-turbo was not trained for it"]),
    ({"use_tiled_decode": False, "constrained_decoding_debug": True},
     ["use_tiled_decode was not used: decoding is always by tiles",
      "constrained_decoding_debug was not used: it does nothing here"]),
    ({"dcw_wavelet": "db4"}, ["dcw_wavelet was not used: dcw_enabled is false"]),
    ({"dcw_wavelet": "db4", "dcw_enabled": True, "dcw_mode": "pix"}, ["dcw_wavelet was not used: dcw_mode is pix"]),
    ({"dcw_wavelet": "db1", "dcw_enabled": True}, []),
    ({"seed": "1,2,3", "use_random_seed": False}, ["seed was used in part: 3 seeds for 2 songs"]),
    ({"seed": "1,2", "use_random_seed": False}, []),
    ({"format": "mp3"}, ["format was read as use_format, and mp3 as false; files have audio_format"]),
])
def test_fields_beside_others(body, lines):
    assert notes(**body) == tuple(lines)


def test_a_caption_of_the_whole_song_is_for_models_that_were_trained_for_it():
    assert notes(LEGO_SFT, TEN, global_caption="slow", task_type="lego", **ON_BASE) == ()
    segment = {"task_type": "lego", "instruction": "Generate a segment of the {TRACK_NAME} track:"}
    assert notes(LEGO_SFT, TEN, global_caption="slow", **segment, **ON_BASE) == (
        "global_caption was not used: instruction is for a segment",)
    assert [model.is_lego_sft for model in LEGO_SFT.models] == [False, True], "older exports do not say so"


@pytest.mark.parametrize("mode", ["conservative", "aggressive", None])
def test_strength_is_that_of_the_balanced_mode(mode):
    sent = REGION | {"repaint_mode": mode, "repaint_strength": 0.1}
    assert notes(uploads=TEN, **sent) == ("repaint_strength was not used: repaint_mode is not balanced",)


@pytest.mark.parametrize(("start", "end", "is_kept"), [
    (None, None, False), (0, 10, False), (-5, None, False), (-5, 12, False), (0.5, None, True), (0, 9.5, True),
    (-5, 9, True), (3, 20, True), (1e-6, None, False),
])
def test_a_mode_is_for_what_is_kept(start, end, is_kept):
    region = {"repainting_start": start, "repainting_end": end}
    said = notes(uploads=TEN, task_type="repaint", repaint_mode="aggressive", **region)
    assert said == (() if is_kept else ("repaint_mode was not used: nothing of the source is kept",))


@pytest.mark.parametrize(("samples", "is_kept"), [(48_000, True), (127 * 1_920, True), (127 * 1_920 + 1, False)])
def test_what_fills_a_short_song_up_is_kept_too(samples, is_kept):
    short = {"src_audio": Upload("a", samples)}
    said = notes(uploads=short, task_type="repaint", repaint_mode="conservative")
    assert said == (() if is_kept else ("repaint_mode was not used: nothing of the source is kept",))


@pytest.mark.parametrize("task", TASKS_WITH_SOURCE)
def test_a_task_with_a_source(task):
    strength = ["audio_cover_strength was not used: repaint follows its source to the end"]
    said = notes(WITH_LM, TEN, task_type=task, model="tiny-base", thinking=True, duration=20, cover_noise_strength=0.5,
                 audio_cover_strength=0.5, repainting_start=1, track_name="drums")
    wanted = [f"thinking was not used: {task} follows its source",
              f"duration was not used: {task} has its source's length",
              *([] if task in ("repaint", "lego") else [f"repainting_start was not used: {task} has no region"]),
              *(strength if task == "repaint" else []),
              *([] if "cover" in task else [f"cover_noise_strength was not used: {task} begins with noise"]),
              *([] if task in ("lego", "extract", "complete") else [f"track_name was not used: {task} has no tracks"])]
    assert list(said) == wanted


PICKS = {"lm_temperature": 0.5, "lm_top_k": 5, "lm_top_p": 0.5, "lm_repetition_penalty": 1.1,
         "constrained_decoding": False, "lm_backend": "pt", "lmModelPath": "acestep-5Hz-lm-tiny"}
GUIDES = {"lm_cfg_scale": 2, "lm_negative_prompt": "drums"}
FLAGS = {"use_cot_caption": False, "cotLanguage": False}
OF_THE_LM = PICKS | GUIDES | FLAGS


def named(said, reason):
    return {line.split(" ")[0] for line in said if line.endswith(f" was not used: {reason}")}


@pytest.mark.parametrize("task", ["cover", "cover-nofsq", "repaint", "extract"])
def test_a_task_without_the_lm_names_all_that_was_asked_of_it(task):
    asked = OF_THE_LM | {"sample_query": "pop", "sample_mode": True, "use_format": True}
    said = notes(WITH_LM, TEN, task_type=task, model="tiny-base", **asked)
    assert named(said, f"{task} uses no LM") == set(asked)
    assert len(said) == len(asked)


def test_without_an_lm():
    asked = {name: value for name, value in OF_THE_LM.items() if name not in ("lm_backend", "lmModelPath")}
    said = notes(BOTH, **asked)
    assert named(said, "no LM is loaded") == set(asked)
    assert len(said) == len(asked)


def test_with_nothing_to_write():
    said = notes(WITH_LM, **ALL_FOUR, **OF_THE_LM)
    assert named(said, "the LM has nothing to write") == set(PICKS)
    assert named(said, "the LM writes no audio codes") == set(GUIDES)
    assert named(said, "the LM fills in no metadata") == set(FLAGS)
    assert len(said) == len(OF_THE_LM)
    source = {**ALL_FOUR, "duration": None, "task_type": "complete", "model": "tiny-base"}
    assert notes(WITH_LM, TEN, **source, lm_temperature=0.5) == (
        "lm_temperature was not used: the LM has nothing to write",), "a source has a length"
    assert notes(WITH_LM, **ALL_FOUR | {"duration": None}, thinking=True, audio_codes=CODES, lm_temperature=0.5) == (
        "lm_temperature was not used: the LM has nothing to write",), "and so have codes"


def test_what_the_lm_writes_with():
    assert notes(WITH_LM, **PICKS, **FLAGS) == (), "metadata is missing"
    assert named(notes(WITH_LM, **PICKS, **GUIDES), "the LM writes no audio codes") == set(GUIDES), "it is not guided"
    assert notes(WITH_LM, **OF_THE_LM, thinking=True) == ()
    assert notes(WITH_LM, **ALL_FOUR, **PICKS, **GUIDES, thinking=True) == ()
    assert notes(WITH_LM, **ALL_FOUR, **PICKS, use_format=True) == ()
    for wish in ({"sample_query": "pop"}, {"sample_mode": True}, {"use_format": True}):
        assert named(notes(WITH_LM, **wish, **FLAGS), "the LM fills in no metadata") == set(FLAGS), wish
    assert notes(WITH_LM, thinking=True, lm_temperature=0, lm_top_k=5, lm_top_p=0.5) == (
        "lm_top_k was not used: lm_temperature is 0", "lm_top_p was not used: lm_temperature is 0")
    assert notes(WITH_LM, thinking=True, lm_cfg_scale=1, lm_negative_prompt="drums") == (
        "lm_negative_prompt was not used: lm_cfg_scale is not above 1",)
    assert notes(WITH_LM, vocal_language="ja", use_cot_language=False) == (
        "use_cot_language was not used: vocal_language is given",)


@pytest.mark.parametrize(("body", "lines"), [
    ({"desc": "pop", "sample_mode": True}, ["sample_mode was not used: sample_query says more"]),
    ({"desc": "pop", "format": True}, ["format was not used: the LM writes the whole song"]),
    ({"sample_mode": True, "use_format": True}, ["use_format was not used: the LM writes the whole song"]),
    ({"desc": "a Japanese song", "vocal_language": "unknown"},
     ["vocal_language was not used: sample_query names another"]),
    ({"desc": "a Japanese song", "vocal_language": "en"},
     ["vocal_language was not used: sample_query names another"]),
    ({"desc": "a Japanese song", "vocal_language": "de"}, []), ({"desc": "a song", "vocal_language": "unknown"}, []),
])
def test_wishes(body, lines):
    assert notes(WITH_LM, **body) == tuple(lines)


def test_formatting_needs_words():
    assert notes(WITH_LM, TEN, caption="", task_type="complete", model="tiny-base", use_format=True) == (
        "use_format was not used: there is no caption and no lyrics",)


SAME = "not used, and at their defaults: "


@pytest.mark.parametrize("body", [
    {"seed": -1}, {"seed": "-1"}, {"repaintingEnd": -1}, {"repainting_end": 0}, {"lm_top_k": 0},
    {"guidance_scale": "7.0"}, {"repaint_latent_crossfade_frames": 10}, {"use_tiled_decode": True},
])
def test_values_that_are_the_default_s_are_named_in_one_line(body):
    [name] = body
    assert notes(**body) == (f"{SAME}{name}",)
    [line] = notes(**body, use_adg=False)
    assert set(line.removeprefix(SAME).split(", ")) == {name, "use_adg"}


def test_a_client_that_sends_every_field_at_its_default_reads_one_line():
    defaults = {entry.name: entry.default for entry in TABLE}
    body = {name: value for name, value in defaults.items() if value not in (None, "", ()) and name != "seed"}
    [line] = notes(**body | {"caption": "x"})
    assert line.startswith(SAME)
    named = line.removeprefix(SAME).split(", ")
    assert {"guidance_scale", "use_adg", "repaint_strength", "dcw_mode", "lm_cfg_scale"} <= set(named)
    assert {"batch_size", "inference_steps", "shift", "audio_format", "dcw_enabled", "sampler_mode"}.isdisjoint(named)
    assert notes(audio_duration=-1) == ()
    assert notes(uploads=TEN, task_type="cover", audio_duration=-1) == (), "-1 is nothing that was sent"


def test_the_default_is_the_one_that_is_set():
    def said(**body):
        return submission({"caption": "x", **body}, BOTH, defaults=UPSTREAM["2026-06"]).notes

    assert said() == ()
    assert said(repaint_mode="balanced", dcw_enabled=True, chunk_mask_mode="auto") == (f"{SAME}repaint_mode",)
    assert said(repaint_mode="aggressive") == ("repaint_mode was not used: text2music has no region",)
    assert said(dcw_mode="low", dcw_scaler=0.1) == ()


WAV = io.BytesIO()
soundfile.write(WAV, np.zeros((48_000, 2)), 48_000, format="WAV")


async def test_files_are_called_as_they_were_sent(scripted, tmp_path):
    (tmp_path / "song.wav").write_bytes(WAV.getvalue())
    async with (
        scripted.frontend(tmp_path / "state", audio_root=str(tmp_path)) as services,
        served(create_app(services)) as client,
    ):
        for data, files, lines in (
            ({}, ["ctx_audio"], ["ctx_audio was not used: text2music follows none"]),
            ({"srcAudioPath": "song.wav"}, [], ["srcAudioPath was not used: text2music follows none"]),
            ({"src_audio_path": "song.wav", "task_type": "cover"}, ["src_audio"],
             ["src_audio_path was not used: the uploaded file wins"]),
            ({"reference_audio_path": "song.wav"}, ["refAudio"],
             ["reference_audio_path was not used: the uploaded file wins"]),
            ({"reference_audio_path": "song.wav", "src_audio_path": "song.wav", "task_type": "cover"}, [], []),
            ({"thinking": "yes", "audio_codes": CODES, "task_type": "cover"}, ["src_audio"],
             ["src_audio was not used: the audio codes win"]),
            ({}, ["music", "reference_audio"], ["music was not used: no file has that name"]),
        ):
            answer = await client.post(
                "/v1/music/generate", data={"caption": "x", "audio_format": "wav"} | data,
                files=[(name, ("a.wav", WAV.getvalue())) for name in files] or [("unused", ("", b""))])
            assert answer.status_code == 200, answer.text
            job = await ended(services, answer.json()["job_id"])
            assert list(job.work.notes) == lines
            record = (await client.get(f"/v1/jobs/{job.id}")).json()
            assert set(lines) <= set(record["result"]["generation_info"].split("\n"))


async def test_a_strange_name_is_one_short_line(scripted, tmp_path):
    async with scripted.frontend(tmp_path, workers=0) as services, served(create_app(services)) as client:
        body = b"--b\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"\"\r\n\r\nx\r\n" % (b"a  b" * 100)
        body += b"--b\r\nContent-Disposition: form-data; name=\"caption\"\r\n\r\nx\r\n--b--\r\n"
        answer = await client.post(
            "/v1/music/generate", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
        job = await services.store.get(answer.json()["job_id"])
        [line] = job.work.notes
        assert line == f"{('a b' * 100)[:80]} was not used: no file has that name"


def chat_notes(text="<prompt>x</prompt>", catalogue=BOTH, uploads=None, **body):
    fields, message = read_chat(body), deciding_message([{"role": "user", "content": text}])
    files = Files(uploads or {}, dict.fromkeys(("src_audio", "reference_audio"), "input_audio"))
    return chat_work(fields, read_wish(fields, message.text), files, catalogue, lambda: 7).notes


@pytest.mark.parametrize(("text", "body", "lines"), [
    ("<prompt>x</prompt><lyrics>la</lyrics>", {"instrumental": True},
     ["lyrics were not used: the song is instrumental"]),
    ("<prompt>x</prompt>", {"audio_config": {"guidanceScale": 3}},
     ["audio_config.guidanceScale was not used: tiny-turbo is a turbo model, without guidance"]),
    ("<prompt>x</prompt>", {"temperature": 0.5, "top_p": 0.8},
     ["temperature was not used: no LM is loaded", "top_p was not used: no LM is loaded"]),
    ("<prompt>x</prompt>", {"use_cot_metas": False, "seed": 5, "stream": True, "use_format": True}, [
        "use_cot_metas was not used: no LM is loaded"]),
    ("x", {"lyrics": "la la", "instrumental": True}, ["lyrics was not used: the song is instrumental"]),
    ("x", {"lyrics": "[inst]", "instrumental": True}, []),
])
def test_a_chat_job_has_the_same_notes(text, body, lines):
    assert chat_notes(text, **body) == tuple(lines)


def test_the_notes_of_a_chat_job_are_made_once(monkeypatch):
    asked, plain = [], usage._lacking

    def counted(name, song):
        asked.append(name)
        return plain(name, song)

    monkeypatch.setattr(usage, "_lacking", counted)
    assert len(chat_notes(guidance_scale=3)) == 1
    assert asked.count("guidance_scale") == 1


def test_of_a_chat_request_with_an_lm():
    assert chat_notes(catalogue=WITH_LM, temperature=0.5) == (), "the default asks for a better text"
    assert chat_notes("a happy song", WITH_LM, sample_mode=True) == (), "the message is the wish"
    assert chat_notes("make it jazz", WITH_LM, TEN, task_type="cover", duration=20, use_format=False) == (
        "duration was not used: cover has its source's length", "use_format was not used: cover uses no LM")
    assert chat_notes("", BOTH, {"src_audio": Upload("a", 480_000)}, thinking=True, audio_codes=CODES) == (
        "input_audio was not used: the audio codes win",)
