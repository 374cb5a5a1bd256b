"""Every field of a song has a test of its effect: on the plan, the audio or the files, or that it has none."""

# mypy: allow-untyped-calls

import asyncio
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frontend.native.fields import TABLE
from frontend.native.submission import submission
from frontend.services import Services
from frontend.settings import resolve
from pipeline.prompts import instruction_for
from tests import test_sampler_fields as sampler
from tests.scripted import ended
from tests.test_contract_walk import FIELDS, NOWHERE, Client
from tests.test_native_api import FEW, FLAC, MP3
from tests.test_native_fields import BOTH, TEN

TESTS = Path(__file__).parent
# Fields whose effect is no change of the pipeline's request that test_sampler_fields makes.
ELSEWHERE = {
    "audio_format": "test_native_api.py::test_wav_and_flac_hold_the_same_song_and_a_seed_gives_equal_bytes",
    "audio_duration": "test_native_api.py::test_two_mp3_of_thirty_seconds_by_default",
    "use_random_seed": "test_seeds_sent.py::test_seeds_are_resolved_at_submission",
    "batch_size": "test_native_api.py::test_an_item_of_a_batch_is_the_song_of_its_seed",
    "task_type": "test_native_api.py::test_each_task_makes_a_song_from_uploads",
    "reference_audio_path": "test_field_effects.py::test_a_path_makes_the_song_of_its_upload",
    "src_audio_path": "test_field_effects.py::test_a_path_makes_the_song_of_its_upload",
    "lm_model_path": "test_native_lm.py::test_the_lm_by_name_and_engine",
    "lm_backend": "test_native_lm.py::test_the_lm_by_name_and_engine",
    "thinking": "test_native_lm.py::test_thinking_makes_codes_for_every_item",
    "sample_mode": "test_native_lm.py::test_a_sample_of_nothing",
    "sample_query": "test_native_lm.py::test_a_wish_in_plain_words",
    "use_format": "test_native_lm.py::test_formatting_betters_the_caption_and_keeps_the_rest",
    "extract_codes_only": "test_analysis.py::test_codes_alone",
    "full_analysis_only": "test_analysis.py::test_the_full_analysis",
    "analysis_only": "test_analysis.py::test_the_analysis_of_a_text",
    "use_cot_caption": "test_lm_song.py::test_cot_flags_off_leave_caption_and_language",
    "use_cot_language": "test_lm_song.py::test_cot_flags_off_leave_caption_and_language",
    **dict.fromkeys(
        ("lm_temperature", "lm_top_k", "lm_top_p", "lm_repetition_penalty", "constrained_decoding"),
        "test_lm_song.py::test_every_lm_parameter_changes_what_is_planned"),
    **dict.fromkeys(
        ("lm_cfg_scale", "lm_negative_prompt"),
        "test_lm_song.py::test_guidance_changes_the_codes_and_never_what_is_planned"),
}
# No model that is exported here reads it, and there is one basis.
ELSEWHERE |= {
    "global_caption": "test_native_fields.py::test_each_name_of_a_field_reaches_the_canonical_request",
    "dcw_wavelet": "test_native_fields.py::test_refusals",
}
CHANGED = {key for _, change in sampler.CHANGES for key in change}
NOTHING = ("use_tiled_decode", "constrained_decoding_debug", "is_format_caption")
NAMED = ("repaint_latent_crossfade_frames", "repaint_wav_crossfade_sec")


@pytest.mark.parametrize("name", [entry.name for entry in TABLE if entry.name not in (*NOTHING, *NAMED)])
def test_there_is_a_test_of_its_effect(name):
    if name in ELSEWHERE:
        file, _, function = ELSEWHERE[name].partition("::")
        assert re.search(rf"^(async )?def {function}\(", (TESTS / file).read_text(), re.MULTILINE)
        return
    assert FIELDS[name].key is not NOWHERE
    assert FIELDS[name].key in CHANGED


@pytest.mark.parametrize("name", NOTHING)
def test_what_does_nothing_leaves_the_request_as_it_is(name):
    plain = submission({"caption": "x"}, BOTH, draw=lambda: 7)
    for value in (True, False):
        for body in ({name: value}, {"metas": json.dumps({name: value})}):
            made = submission({"caption": "x", **body}, BOTH, draw=lambda: 7)
            assert made.song == plain.song
            assert len(made.notes) == 1
            assert name in made.notes[0]


@pytest.mark.parametrize("name", NAMED)
def test_what_the_mode_decides_leaves_the_song_as_it_is_and_is_named(name):
    plain = submission({"caption": "x"}, BOTH, draw=lambda: 7)
    sent = submission({"caption": "x", name: 3}, BOTH, draw=lambda: 7)
    assert (sent.song, sent.notes) == (plain.song, (f"{name} was not used: repaint_mode decides",))


@pytest.mark.parametrize(("task", "field", "sent", "instruction"), [
    ("lego", "track_name", "Vocals", "Generate the VOCALS track based on the audio context:"),
    ("extract", "track_name", "backing vocals", "Extract the BACKING_VOCALS track from the audio:"),
    ("complete", "track_classes", ["drums", "bass"], "Complete the input track with DRUMS | BASS:"),
])
def test_tracks_stand_in_the_instruction_that_the_model_gets(task, field, sent, instruction):
    body = {"task_type": task, "model": "tiny-base", field: sent}
    made = submission(body, BOTH, TEN).song
    assert instruction_for(made["task"], made["instruction"], tuple(made["tracks"])) == instruction
    plain = submission(body | {field: None}, BOTH, TEN).song
    assert instruction_for(plain["task"], "", tuple(plain["tracks"])) != instruction


async def sung(client, **sent):
    """The samples of the song that a request asks for."""
    status, answer = await client.post(**sent)
    assert status == 200, answer
    job = await ended(client.services, answer["job_id"], 120)
    assert job.result is not None, job.error
    file = await client.services.store.find_audio(job.result["audio"][0])
    return soundfile.read(client.services.folders.audio / file.file)[0]


@pytest.mark.parametrize(("task", "field"), [("text2music", "reference_audio"), ("cover", "src_audio")])
async def test_a_path_makes_the_song_of_its_upload(stack, tmp_path, task, field):
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "song.flac").write_bytes(FLAC)
    flags: dict[str, str | None] = {
        "state": str(tmp_path / "state"), "triton_url": stack.triton_grpc, "audio_root": str(tmp_path / "music")}
    async with Services(resolve(flags, {}, {})) as services:
        while services.catalogue is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        client = Client(services)
        body = FEW | {"caption": "bells", "task_type": task} | ({} if task == "cover" else {"audio_duration": 10})
        by_path, uploaded, other = await asyncio.gather(
            sung(client, json=body | {f"{field}_path": "song.flac"}),
            *[sung(client, data=body, files={field: ("name", data)}) for data in (FLAC, MP3)])
    assert np.array_equal(by_path, uploaded)
    assert not np.array_equal(by_path, other)
