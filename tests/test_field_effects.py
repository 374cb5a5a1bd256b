"""Every field of a song has a test of its effect: on the plan, the audio or the files, or that it has none."""

# mypy: allow-untyped-calls

import json
import re
from pathlib import Path

import pytest

from frontend.native.fields import TABLE
from frontend.native.submission import submission
from tests import test_sampler_fields as sampler
from tests.test_contract_walk import FIELDS, NONE
from tests.test_native_fields import BOTH

TESTS = Path(__file__).parent
# Fields whose effect is no change of the pipeline's request that test_sampler_fields makes.
ELSEWHERE = {
    "audio_format": "test_native_api.py::test_wav_and_flac_hold_the_same_song_and_a_seed_gives_equal_bytes",
    "audio_duration": "test_native_api.py::test_two_mp3_of_thirty_seconds_by_default",
    "use_random_seed": "test_native_fields.py::test_seeds_are_resolved_at_submission",
    "batch_size": "test_native_api.py::test_an_item_of_a_batch_is_the_song_of_its_seed",
    "task_type": "test_native_api.py::test_each_task_makes_a_song_from_uploads",
    "reference_audio_path": "test_safety.py::test_paths_below_the_operators_folder",
    "src_audio_path": "test_safety.py::test_paths_below_the_operators_folder",
    "lm_model_path": "test_native_fields.py::test_what_needs_the_lm_says_so_where_there_is_none",
    "lm_backend": "test_native_fields.py::test_what_needs_the_lm_says_so_where_there_is_none",
    "thinking": "test_native_lm.py::test_thinking_makes_codes_for_every_item",
    "sample_mode": "test_native_lm.py::test_a_sample_of_nothing",
    "sample_query": "test_native_lm.py::test_a_wish_in_plain_words",
    "use_format": "test_native_lm.py::test_formatting_betters_the_caption_and_keeps_the_rest",
    "use_cot_caption": "test_lm_song.py::test_cot_flags_off_leave_caption_and_language",
    "use_cot_language": "test_lm_song.py::test_cot_flags_off_leave_caption_and_language",
    **dict.fromkeys(
        ("lm_temperature", "lm_cfg_scale", "lm_negative_prompt", "lm_top_k", "lm_top_p", "lm_repetition_penalty",
         "constrained_decoding"), "test_lm_song.py::test_every_lm_parameter_changes_what_is_written"),
}
NOTHING = ("use_tiled_decode", "constrained_decoding_debug", "is_format_caption")


@pytest.mark.parametrize("name", [entry.name for entry in TABLE if entry.name not in NOTHING])
def test_there_is_a_test_of_its_effect(name):
    if name in ELSEWHERE:
        file, _, function = ELSEWHERE[name].partition("::")
        assert re.search(rf"^(async )?def {function}\(", (TESTS / file).read_text(), re.MULTILINE)
        return
    key = FIELDS[name].key
    assert key is not NONE
    assert f"'{key}':" in str((sampler.CHANGES, sampler.NOTHING))


@pytest.mark.parametrize("name", NOTHING)
def test_what_does_nothing_leaves_the_request_as_it_is(name):
    plain = submission({"caption": "x"}, BOTH, draw=lambda: 7)
    for value in (True, False):
        assert submission({"caption": "x", name: value}, BOTH, draw=lambda: 7) == plain
        assert submission({"caption": "x", "metas": json.dumps({name: value})}, BOTH, draw=lambda: 7) == plain
