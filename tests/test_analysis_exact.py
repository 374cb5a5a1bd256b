"""Analyses on the whole stack: codes are the tokenizer's and can be sent back, texts are the LM's own calls."""

# mypy: allow-untyped-calls

import io
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import wait_for_model
from tests.pipeline_client import sing
from tests.support.cases import SEED, TEXT, TURBO, tune
from tests.support.diffusers_song import own_posterior, pipeline_of
from tests.test_native_api import KNOWN, audio, make

CHECKPOINTS = Path("build/checkpoints/tiny")
SOURCE = tune(10)
SEEDED = {"seed": SEED, "use_random_seed": False}


@pytest.fixture(scope="module")
def api(stack):
    wait_for_model(stack, "lm")
    with httpx.Client(base_url=stack.api, timeout=30) as client:
        yield client


def file_of(sound):
    data = io.BytesIO()
    soundfile.write(data, sound.T, 48_000, format="WAV", subtype="FLOAT")
    return {"src_audio": ("song.wav", data.getvalue())}


@pytest.fixture(scope="module")
def heard(api):
    """The result of a full analysis of ten seconds."""
    record = make(api, file_of(SOURCE), full_analysis_only="true", **SEEDED)
    assert record["status"] == "succeeded", record
    return record["result"]


def oracle_codes(sound):
    """The codes that diffusers' own VAE and tokenizer make of a source, with this project's draw of the posterior."""
    made = pipeline_of(CHECKPOINTS, TURBO)
    with torch.inference_mode(), own_posterior():
        posterior = made.vae.encode(torch.from_numpy(sound)[None]).latent_dist
        silence = made.condition_encoder.silence_latent
        _, codes = made.audio_tokenizer.tokenize(posterior.sample().transpose(1, 2), silence)
    return codes.flatten().tolist()


@pytest.mark.parametrize("seconds", [5.2, 3.16])  # 26 whole codes; 79 frames, whose last code silence fills
async def test_codes_are_the_tokenizers_of_the_drawn_posterior(stack, seconds):
    source = SOURCE[:, : round(seconds * 48_000)]
    song = await sing(stack.triton_grpc, kind="codes", model=TURBO, src_audio=source, seeds=[SEED])
    [codes] = [event["codes"] for event in song.events if event["type"] == "codes"]
    assert codes == oracle_codes(source)
    assert len(codes) == int(-(-seconds * 5 // 1))
    assert song.done["metadata"] == {"duration": pytest.approx(seconds)}
    assert (song.done["lm"], song.done["seeds"], song.done["model"]) == (None, [SEED], TURBO)


def test_the_codes_sent_back_make_the_cover_of_their_source(api, heard):
    """Byte for byte: the tokenizer is all that stands between a cover and its source."""
    result = make(api, file_of(SOURCE), extract_codes_only="true", **SEEDED)["result"]
    codes = result["audio_codes"]
    assert (result["duration"], codes) == (10, heard["audio_codes"])
    asked = SEEDED | KNOWN | {"caption": "a waltz", "audio_format": "wav", "batch_size": 1, "task_type": "cover"}
    cover = make(api, file_of(SOURCE), **asked)["result"]
    again = make(api, **asked, thinking=True, audio_codes=codes)["result"]
    assert again["audio_codes"] == codes
    assert audio(api, again["first_audio_path"]).content == audio(api, cover["first_audio_path"]).content


async def test_the_full_analysis_is_what_the_lm_says_of_those_codes(stack, heard):
    [text] = heard["audio_codes"]
    codes = [int(code) for code in re.findall(r"\d+", text)]
    assert (heard["duration"], len(codes)) == (10, 50)
    direct = await sing(stack.triton_grpc, kind="understand", codes=[codes], seeds=[SEED], lm_temperature=0.3,
                        lm_top_p=1.0, **{"return": ["codes"]})
    assert [event["codes"] for event in direct.events if event["type"] == "codes"] == [codes]
    said = direct.done["metadata"]
    assert said["lyrics"]
    assert {name: heard[name] for name in ("prompt", "lyrics", "genre", "language", "bpm", "keyscale",
                                           "timesignature")} == {
        "prompt": said["caption"], "lyrics": said["lyrics"], "genre": said["genres"],
        "language": said["vocal_language"], "bpm": said["bpm"], "keyscale": said["key_scale"],
        "timesignature": said["time_signature"]}
    wrote = next(line for line in heard["generation_info"].split("\n") if line.startswith("LM wrote: "))
    assert "duration" not in wrote
    assert "lyrics" in wrote


def test_the_analysis_of_a_text_is_the_metadata_call_of_its_song(api):
    asked = SEEDED | {"caption": TEXT["caption"], "lyrics": TEXT["lyrics"], "batch_size": 1, "audio_format": "wav"}
    song = make(api, **asked, inference_steps=1)["result"]
    told = make(api, **asked, analysis_only=True)["result"]
    same = ("bpm", "keyscale", "timesignature", "duration", "metas", "seed_value", "lm_model")
    assert {name: told[name] for name in same} == {name: song[name] for name in same}
    assert (told["prompt"], told["language"]) == (song["metas"]["caption"], song["metas"]["vocal_language"])
    assert (told["audio_paths"], told["audio_codes"]) == ([], None)
    plain = make(api, **asked, analysis_only=True, use_cot_caption=False)["result"]
    assert plain["prompt"] == TEXT["caption"]


@pytest.mark.parametrize(("request_", "said"), [
    ({"kind": "codes"}, "[400] src_audio: is needed by codes"),
    ({"kind": "understand"}, "[400] codes: is needed by understand, or src_audio"),
    ({"kind": "metadata", "caption": " "}, "[400] caption: give a caption or lyrics for metadata; both are empty"),
])
async def test_what_is_missing_is_named(stack, request_, said):
    assert (await sing(stack.triton_grpc, **request_)).error == said


async def test_silence_has_codes_and_a_note(stack):
    song = await sing(stack.triton_grpc, kind="codes", src_audio=np.zeros((2, 48_000), np.float32), seeds=[-1])
    assert song.done["notes"] == ["the source audio is silent"]
    assert 0 <= song.done["seeds"][0] < 2**32
    assert len(next(event["codes"] for event in song.events if event["type"] == "codes")) == 5
