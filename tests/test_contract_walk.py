"""Every field by every name in every kind of body, with good, edge and bad values: the request that the pipeline gets.

Aliases, types of bodies and places are walked through for all fields alike; what a value means is in FIELDS.
"""

# mypy: allow-untyped-calls

import asyncio
import io
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from frontend.musicality import LANGUAGES, TRACKS
from frontend.native.fields import NESTED_OBJECTS, TABLE
from frontend.native.routes import create_app
from frontend.services import Services
from frontend.settings import resolve
from tests.scripted import ended
from tests.test_native_fields import BOTH, SCHEMA, TINY_LM, WITH_LM

PATH = "/v1/music/generate"
NOWHERE = object()  # the key of a field that reaches no key of the pipeline's request
LM = "needs the 5 Hz LM, which is not loaded"
LOADED = f"must be {TINY_LM['name']}, the LM that is loaded"


@dataclass(frozen=True)
class Walk:
    """`key` of the pipeline's request; `good` values with what they become there; `bad` ones with what is said of them.

    `needs` are the other fields of a request in which the field counts.
    """

    key: Any
    good: list[tuple[Any, Any]]
    bad: list[tuple[Any, str]]
    needs: dict[str, Any] = field(default_factory=dict)


def flag(key, *, default=False, yes=True, no=False, refused=None):
    """A flag: true words, everything else is false; a list is none. `refused` is what true words are told, if so."""
    true = (True, "yes", " ON", 1)
    good = [(False, no), ("0", no), ("nein", no), ("", yes if default else no)]
    bad = [([1], "must be true or false")]
    if refused is not None:
        return Walk(key, good, [*bad, *((word, refused) for word in true)])
    return Walk(key, [*((word, yes) for word in true), *good], bad)


def numbers(key, good, bad, said, **needs):
    """Good numbers also as text; what is beyond the edges, and what is no number."""
    pairs = [pair if isinstance(pair, tuple) else (pair, pair) for pair in good]
    texts = [(str(sent), becomes) for sent, becomes in pairs[:1]]
    return Walk(key, pairs + texts, [*((value, said) for value in bad), ("many", "must be a")], needs)


CODES = "<|audio_code_7|><|audio_code_63999|>"
COVER = {"task_type": "cover", "thinking": True, "audio_code_string": CODES}
REPAINT = {"task_type": "repaint", "src_audio_path": "song.wav"}
FIELDS = {
    "caption": Walk("caption", [("c", "c"), ("a" * 2000, "a" * 2000), ("é🎵\r\n", "é🎵\n"), (5, "5")],
                    [("a" * 2001, "must have at most 2000"), (["a"], "must be text")], {"lyrics": "la"}),
    "lyrics": Walk("lyrics", [("[Verse]\nla", "[Verse]\nla"), ("l" * 8000, "l" * 8000)],
                   [("l" * 8001, "must have at most 8000"), ({"a": 1}, "must be text")]),
    "instrumental": flag("instrumental"),
    "thinking": flag("thinking", refused=LM),
    "vocal_language": Walk("vocal_language", [(code, code) for code in LANGUAGES[::10]] + [
        ("ZH", "zh"), ("pt_BR", "pt"), ("Japanese", "ja"), ("Auto", None), ("N/A", None)],
                           [("klingon", "must be one of"), (5, "must be one of")]),
    "audio_format": Walk(NOWHERE, [("wav", "wav"), ("FLAC", "flac"), (" mp3 ", "mp3"), ("opus", "opus"),
                                   ("AAC", "aac"), ("wav32", "wav32")],
                         [("ogg", "must be one of mp3, wav, flac, opus, aac, wav32"), ("../x", "must be one of")]),
    "sample_mode": flag("sample_mode", refused=LM),
    "sample_query": Walk("sample_query", [(" \n", "")], [("a song", LM), ("q" * 2001, "must have at most 2000")]),
    "use_format": flag("use_format", no="off", refused=LM),
    "model": Walk("model", [("tiny-base", "tiny-base"), (" tiny-turbo ", "tiny-turbo"),
                            ("acestep-v15-turbo", "tiny-turbo")], [("gpt", "must be one of tiny-turbo, tiny-base")]),
    "bpm": numbers("bpm", [30, 300, (120.0, 120), ("120 BPM", 120), (0, None), ("N/A", None)], [29, 301, 90.5],
                   "must be"),
    "key_scale": Walk("key_scale", [("am", "A minor"), ("C Major", "C major"), ("B♭m", "B♭ minor"), (-1, "")],
                      [("H dur", "must be a note"), (5, "must be a note")]),
    "time_signature": Walk("time_signature", [(4, "4"), ("6/8", "6"), (2.0, "2"), ("null", "")],
                           [("17", "must be one of 2, 3, 4, 6"), ("5/4", "must be one of")]),
    "audio_duration": numbers("duration", [(10, 10.0), (600, 600.0), (0, None), ("auto", None), ("30.5 s", 30.5)],
                              [9.9, 600.1], "must be between 10 and 600"),
    "audio_code_string": Walk("codes", [(CODES, [[7, 63999]]), ([CODES, "<|audio_code_0|>"], [[7, 63999], [0]])], [
        ("<|audio_code_64000|>", "must have codes between 0 and 63999"), ("text", "must have 1 to 3000"),
        ([CODES] * 3, "must be one text for all 2 items")], {"task_type": "cover", "thinking": True}),
    "inference_steps": numbers("steps", [1, 200, (12.0, 12)], [0, 201], "must be between 1 and 200"),
    "guidance_scale": numbers("guidance_scale", [(0, 0.0), (30, 30.0), (7.5, 7.5)], [-0.1, 30.1],
                              "must be between 0 and 30"),
    "use_random_seed": Walk("seeds", [(False, [5, 6]), ("0", [5, 6])], [([1], "must be true or false")], {"seed": 5}),
    "seed": Walk("seeds", [(0, [0, 1]), (2**32 - 1, [2**32 - 1, 0]), ("7,9", [7, 9]), ([2**32 + 8, 3], [8, 3])], [
        (-2, "must be between 0"), (2**63, "must be between 0"), ("x", "must be a whole"), (1.5, "must be a whole")],
        {"use_random_seed": False}),
    "batch_size": Walk("seeds", [(1, [5]), ("2", [5, 6]), (8, list(range(5, 13)))], [
        (0, "must be between 1 and 8"), (9, "must be between 1 and 8")], {"seed": 5, "use_random_seed": False}),
    "shift": numbers("shift", [(1, 1.0), (5, 5.0), (2.5, 2.5)], [0.9, 5.1], "must be between 1 and 5"),
    "infer_method": Walk("infer_method", [("SDE", "sde"), ("ode", "ode")], [("euler", "must be one of ode, sde")]),
    "sampler_mode": Walk("sampler_mode", [("HEUN", "heun"), ("euler", "euler")],
                         [("rk4", "must be one of euler, heun")]),
    "velocity_norm_threshold": numbers("velocity_norm_threshold", [(0, 0.0), (10, 10.0)], [-0.1, 10.1],
                                       "must be between 0 and 10"),
    "velocity_ema_factor": numbers("velocity_ema_factor", [(0.1, 0.1), (1, 1.0)], [-0.1, 1.1],
                                   "must be between 0 and 1"),
    "dcw_enabled": flag("dcw_enabled"),
    "dcw_mode": Walk("dcw_mode", [(mode, mode) for mode in ("low", "high", "double", "pix")] + [(" PIX", "pix")],
                     [("all", "must be one of low, high, double, pix"), (1, "must be one of")]),
    "dcw_scaler": numbers("dcw_scaler", [(0, 0.0), (1, 1.0)], [-0.1, 1.1], "must be between 0 and 1"),
    "dcw_high_scaler": numbers("dcw_high_scaler", [(0, 0.0), (1, 1.0)], [-0.1, 1.1], "must be between 0 and 1"),
    "dcw_wavelet": Walk(
        "dcw_wavelet", [(" Haar", "haar"), ("DB1", "haar")],
        [("daisy", "must be one of haar"), (1, "must be one of haar")]),
    "latent_shift": numbers("latent_shift", [(-10, -10.0), (10, 10.0)], [-10.1, 10.1], "must be between -10 and 10"),
    "latent_rescale": numbers("latent_rescale", [(0.1, 0.1), (10, 10.0)], [0, 10.1], "must be between 0.1 and 10"),
    "timesteps": Walk("timesteps", [("1, 0.5,0", [1, 0.5, 0]), ([0.9, 0.5], [0.9, 0.5]), ("0.7", [0.7])], [
        ("0.5,0.9", "must decrease"), ("1.5", "must be between 0 and 1"), ("fast", "must be a number"),
        (0, "must have 1 to 200")]),
    "use_adg": flag("use_adg"),
    "cfg_interval_start": numbers("cfg_interval", [(0, [0.0, 1.0]), (1, [1.0, 1.0])], [-0.1, 1.1],
                                  "must be between 0 and 1"),
    "cfg_interval_end": numbers("cfg_interval", [(0, [0.0, 0.0]), (0.5, [0.0, 0.5])], [-0.1, 1.1],
                                "must be between 0 and 1"),
    "use_tiled_decode": Walk(NOWHERE, [(True, None), ("no", None)], [([1], "must be true or false")]),
    "lm_model_path": Walk(NOWHERE, [(" ", None)], [("/etc", LM), ("../lm", LM), ("acestep-5Hz-lm-0.6B", LM)]),
    "lm_backend": Walk("lm_engine", [("VLLM", None), (" ", None)], [("pt", LM), ("onnx", "must be one of vllm, pt")]),
    "lm_temperature": numbers("lm_temperature", [(0, 0.0), (2, 2.0)], [-0.1, 2.1], "must be between 0 and 2"),
    "lm_cfg_scale": numbers("lm_cfg_scale", [(0, 0.0), (10, 10.0)], [-0.1, 10.1], "must be between 0 and 10"),
    "lm_negative_prompt": Walk("lm_negative_prompt", [("no drums", "no drums")], [("x" * 2001, "must have at most")]),
    "lm_top_k": numbers("lm_top_k", [0, 50], [-1, 1.5], "must be"),
    "lm_top_p": numbers("lm_top_p", [(0.1, 0.1), (1, 1.0), (5, 5.0)], [0, -1], "must be above 0"),
    "lm_repetition_penalty": numbers("lm_repetition_penalty", [(0.5, 0.5), (2, 2.0)], [0.4, 2.1],
                                     "must be between 0.5 and 2"),
    "use_cot_caption": flag("use_cot_caption", default=True),
    "use_cot_language": flag("use_cot_language", default=True),
    "constrained_decoding": flag("constrained_decoding", default=True),
    "constrained_decoding_debug": Walk(NOWHERE, [(True, None)], [([1], "must be true or false")]),
    "is_format_caption": Walk(NOWHERE, [(True, None)], [([1], "must be true or false")]),
    "reference_audio_path": Walk(NOWHERE, [("song.wav", "reference_audio")],
                                 [("/etc/hostname", "there is no such file")]),
    "src_audio_path": Walk(NOWHERE, [("song.wav", "src_audio")], [("../x", "there is no such file")],
                           {"task_type": "cover"}),
    "task_type": Walk("task", [("Text2Music", "text2music"), ("cover", "cover")], [
        ("remix", "must be one of text2music, cover"), ("lego", "lego is not a task of tiny-turbo")], {
            "thinking": True, "audio_code_string": CODES}),
    "instruction": Walk("instruction", [("Do it.", "Do it."), ("i" * 500, "i" * 500)],
                        [("i" * 501, "must have at most")]),
    "repainting_start": Walk("repaint_start", [("0.5", 0.5)], [(-601, "must be at least -600")], REPAINT),
    "repainting_end": Walk("repaint_end", [(0.75, 0.75)], [(-2, "must be at least -1")], REPAINT),
    "repaint_mode": Walk("repaint_mode", [("Balanced", "balanced"), ("conservative", "conservative"),
                                          ("aggressive", "aggressive"), (" ", None)],
                         [("gentle", "must be one of conservative, balanced, aggressive")]),
    "repaint_strength": numbers("repaint_strength", [(0, 0.0), (1, 1.0)], [-0.1, 1.1], "must be between 0 and 1"),
    "repaint_latent_crossfade_frames": Walk(NOWHERE, [(10, None), ("25", None)], [(-1, "must be at least 0")]),
    "repaint_wav_crossfade_sec": Walk(NOWHERE, [(0, None), ("0.5", None)], [(-1, "must be at least 0")]),
    "chunk_mask_mode": Walk("chunk_mask_mode", [("AUTO", "auto"), ("explicit", "explicit")],
                            [("ones", "must be one of explicit, auto")]),
    "audio_cover_strength": numbers("cover_strength", [(0, 0.0), (1, 1.0), (0.25, 0.25)], [-0.1, 1.1],
                                    "must be between 0 and 1", **COVER),
    "cover_noise_strength": numbers("cover_noise_strength", [(0, 0.0), (1, 1.0)], [-0.1, 1.1],
                                    "must be between 0 and 1", **COVER),
    "global_caption": Walk("global_caption", [("a slow song", "a slow song"), ("g" * 2000, "g" * 2000)],
                           [("g" * 2001, "must have at most 2000")]),
    "track_name": Walk("tracks", [("Vocals", ["vocals"]), (["FX"], ["fx"])], [("kazoo", "must be of woodwinds")]),
    "track_classes": Walk("tracks", [
        ("drums, Backing Vocals", ["drums", "backing_vocals"]), (list(TRACKS), list(TRACKS))],
        [("drums,kazoo", "must be of woodwinds")]),
    "extract_codes_only": Walk("kind", [("Yes", "codes")], [([1], "must be true or false")],
                               {"src_audio_path": "song.wav"}),
    "full_analysis_only": flag("kind", no="song", refused=LM),
    "analysis_only": flag("kind", no="song", refused=LM),
}
# Where an LM is loaded these walks take the place of the ones above; those of its other fields stay.
WITH_AN_LM = {
    "thinking": flag("thinking"), "sample_mode": flag("sample_mode"),
    "use_format": flag("use_format", yes="need", no="off"),
    "sample_query": Walk("sample_query", [("a song", "a song"), (" 🎵 ", "🎵"), ("q" * 2000, "q" * 2000), (" \n", "")],
                         [("q" * 2001, "must have at most 2000"), ({"a": 1}, "must be text")]),
    "lm_model_path": Walk(NOWHERE, [(TINY_LM["name"], None), (" acestep-5Hz-lm-0.6B ", None), (" ", None)],
                          [("/etc", LOADED), ("../lm", LOADED), (5, LOADED)]),
    "lm_backend": Walk("lm_engine", [("VLLM", "vllm"), ("pt", "pt"), (" ", "vllm")],
                       [("onnx", "must be one of vllm, pt"), (1, "must be one of vllm, pt")]),
    "analysis_only": flag("kind", yes="metadata", no="song"),
}
OF_THE_LM = [entry for entry in TABLE if entry.name in WITH_AN_LM or entry.name.startswith(("lm_", "use_cot_"))
             or entry.name in ("vocal_language", "constrained_decoding")]


def as_text(value):
    """A value as forms carry it."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def json_body(body):
    return {"json": body}


def form_body(body):
    return {"data": {name: as_text(value) for name, value in body.items()}}


def multipart_body(body):
    # With one boundary for all, werkzeug compiles its patterns once.
    return {"files": {name: (None, as_text(value).encode()) for name, value in body.items()},
            "headers": {"Content-Type": "multipart/form-data; boundary=walk"}}


BODIES = {"json": json_body, "form": form_body, "multipart": multipart_body}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """In memory where there is a place for it: thousands of jobs need not be on disk one after the other."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path_factory.mktemp("walk")
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture(scope="module")
async def server(folder):
    """A client of services without a Triton."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros((48_000, 2)), 48_000, format="WAV")
    (folder / "song.wav").write_bytes(file.getvalue())
    flags: dict[str, str | None] = {
        "state": str(folder / "state"), "triton_url": "127.0.0.1:9", "audio_root": str(folder),
        "queue_maxsize": "100000",
    }
    async with Services(resolve(flags, {}, {})) as services:
        yield Client(services)


@pytest.fixture
def client(server):
    """The server has no LM."""
    server.services.catalogue = BOTH
    return server


@pytest.fixture
def client_with_lm(server):
    server.services.catalogue = WITH_LM
    return server


class Client:
    """What sends a request of httpx's making to services of this process."""

    def __init__(self, services):
        self.services = services
        self._client = create_app(services).test_client()

    async def post(self, **sent):
        built = httpx.Request("POST", f"http://x{PATH}", **sent)
        answer = await self._client.post(
            PATH, data=built.read(), headers={"Content-Type": built.headers["Content-Type"]})
        return answer.status_code, await answer.get_json()

    async def work(self, **sent):
        status, body = await self.post(**sent)
        assert status == 200, body
        return (await self.services.store.get(body["job_id"])).work


def test_every_field_is_walked():
    assert list(FIELDS) == [entry.name for entry in TABLE]


def places(entry, name, kind, value, needs):
    """The bodies in which a field can stand: among the others, and in the metadata, as an object or as its text."""
    rest = {"caption": "x", **needs}
    rest.pop(entry.name, None)
    yield rest | {name: value}
    if entry.nested and name == entry.name:  # in the metadata any other name is found in the same way
        nested = {name: value}
        yield rest | {"metas": nested if kind == "json" else json.dumps(nested)}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.name)
async def test_the_walk(client, entry, kind):
    await take(client, entry, FIELDS[entry.name], kind)


@pytest.mark.parametrize(("entry", "kind"), [
    pytest.param(entry, kind, id=f"{entry.name}-{kind}") for entry in OF_THE_LM for kind in BODIES
    if entry.name in WITH_AN_LM or kind == "json"])  # the other fields are read as without one
async def test_the_walk_with_an_lm(client_with_lm, entry, kind):
    await take(client_with_lm, entry, WITH_AN_LM.get(entry.name, FIELDS[entry.name]), kind)


async def take(client, entry, walk, kind):
    """All at once, as many clients would."""
    sent = []
    for name in entry.names:
        for value, becomes in walk.good:
            sent += [taken(client, entry, walk, kind, body, becomes)
                     for body in places(entry, name, kind, value, walk.needs)]
        for value, said in walk.bad:
            if kind != "json" and isinstance(value, list | dict) and said in ("must be text", "must be true or false"):
                continue  # in a form it is a text like any other
            sent += [refused(client, name, kind, body, said) for body in places(entry, name, kind, value, walk.needs)]
    await asyncio.gather(*sent)


async def taken(client, entry, walk, kind, body, becomes):
    check(entry, walk, becomes, await client.work(**BODIES[kind](body)), body)


async def refused(client, name, kind, body, said):
    status, answer = await client.post(**BODIES[kind](body))
    assert status == 400, (body, answer)
    assert answer["detail"].startswith(f"{name}: "), (body, answer)
    assert said in answer["detail"], (body, answer)


def check(entry, walk, becomes, work, body):
    """The pipeline's request has the field's value where it belongs."""
    assert set(work.song) == set(SCHEMA["properties"])
    if entry.name == "audio_format":
        assert work.audio_format == becomes
    elif entry.name.endswith("_path"):
        assert list(work.uploads) == ([becomes] if becomes else [])
    elif walk.key is not NOWHERE:
        assert work.song[walk.key] == becomes, body


@pytest.mark.parametrize("container", NESTED_OBJECTS)
@pytest.mark.parametrize("kind", BODIES)
async def test_every_container_of_metadata(client, container, kind):
    nested: Any = {"bpm": 90, "keyscale": "Am"}
    for value in (nested, json.dumps(nested)):
        work = await client.work(**BODIES[kind]({"caption": "x", container: value}))
        assert (work.song["bpm"], work.song["key_scale"]) == (90, "A minor")


@pytest.mark.parametrize("kind", BODIES)
async def test_null_blank_and_unknown_mean_the_default(client, kind):
    default = (await client.work(json={"caption": "x", "seed": 1, "use_random_seed": False})).song
    given = {entry.name: " " for entry in TABLE} | {"unknown": "y", "prompt_": 3}
    given |= {"caption": "x", "seed": 1, "use_random_seed": False}
    assert (await client.work(**BODIES[kind](given))).song == default
    if kind == "json":
        assert (await client.work(json={entry.name: None for entry in TABLE} | {
            "caption": "x", "seed": 1, "use_random_seed": False})).song == default


async def test_what_the_pipeline_gets_is_what_was_walked(scripted, tmp_path):
    """The request on Triton's side of the wire, for one good value of each field."""
    async with scripted.frontend(tmp_path, workers=4, queue_maxsize="1000") as services:
        client = Client(services)
        jobs = []
        for entry in TABLE:
            walk = FIELDS[entry.name]
            if not entry.name.endswith("_path") and "src_audio_path" not in walk.needs:
                value = next(value for value, _ in walk.good)
                _, answer = await client.post(json={"caption": "x", **walk.needs, entry.name: value})
                jobs.append(answer["job_id"])
        for job_id in jobs:
            job = await ended(services, job_id)
            assert scripted.request(job_id) == json.loads(json.dumps(job.work.song))
        assert len(jobs) > 40


async def test_other_types_of_bodies(client):
    for content_type, content, status in (
        ("application/json; charset=utf-8", b'{"caption": "x"}', 200), ("a/b+json", b'{"caption": "x"}', 200),
        ("", b'{"caption": "x"}', 200), ("", b"caption=x", 200), ("text/plain", b"caption=x&bpm=90", 200),
        ("application/x-www-form-urlencoded", b'{"caption": "x"}', 200), ("", b"[1]", 400), ("text/plain", b"x", 415),
        ("", b"", 415), ("application/json", b"[]", 400), ("application/json", b"", 400), ("image/png", b"x", 415),
    ):
        headers = {"Content-Type": content_type} if content_type else {}
        answer = await client._client.post(PATH, data=content, headers=headers)
        assert answer.status_code == status, (content_type, content, await answer.get_json())
