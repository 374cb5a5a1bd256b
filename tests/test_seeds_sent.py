"""The seeds that a client sends: one for each item, of up to 63 bits, and what became of them; no Triton needed."""

# mypy: allow-untyped-calls

import pytest

from tests.test_field_usage import chat_notes, notes
from tests.test_native_fields import refusal, song, work_of

FOLDED = 2**32
LARGEST = 2**63 - 1


@pytest.mark.parametrize(("body", "seeds"), [
    ({"seed": 5, "use_random_seed": False}, [5, 6]),
    ({"seed": "5", "use_random_seed": "false", "batch_size": 4}, [5, 6, 7, 8]),
    ({"seed": 2**32 - 1, "use_random_seed": False}, [2**32 - 1, 0]),
    ({"seed": 0, "use_random_seed": False}, [0, 1]),
    ({"seed": "42.0", "use_random_seed": False}, [42, 43]),
    ({"seed": "9,3", "use_random_seed": False}, [9, 3]),
    ({"seed": "9,3,4", "use_random_seed": False}, [9, 3]),
    ({"seed": "9,-1,4", "use_random_seed": False, "batch_size": 4}, [9, None, 4, None]),
    ({"seed": -1, "use_random_seed": False}, [None, None]),
    ({"seed": 5}, [None, None]),
    ({"metas": {"useRandomSeed": False}, "seed": 1, "batch_size": 1}, [1]),
    ({"seed_value": "1, 2", "use_random_seed": False}, [1, 2]),
    ({"seed": LARGEST, "use_random_seed": False, "batch_size": 1}, [2**32 - 1]),
    ({"seed": str(LARGEST), "use_random_seed": False, "batch_size": 1}, [2**32 - 1]),
    ({"seed": f"{2**62 + 7}, {FOLDED}", "use_random_seed": False}, [7, 0]),
    ({"seed": [FOLDED + 9, str(FOLDED + 8)], "use_random_seed": False}, [9, 8]),
])
def test_seeds_are_resolved_at_submission(body, seeds):
    drawn = iter((111, 222, 333))
    work = work_of({"caption": "x", **body}, draw=lambda: next(drawn))
    left = iter((111, 222, 333))
    assert work.song["seeds"] == [next(left) if seed is None else seed for seed in seeds]


@pytest.mark.parametrize(("body", "lines"), [
    ({"seed": FOLDED + 7}, ["seed was taken modulo 4294967296: 4294967303 became 7"]),
    ({"seed": f"{LARGEST},5"}, [f"seed was taken modulo 4294967296: {LARGEST} became 4294967295"]),
    ({"seedValue": [FOLDED, FOLDED + 1, FOLDED + 2]},
     ["seedValue was used in part: 3 seeds for 2 songs",
      "seedValue was taken modulo 4294967296: 4294967296 became 0, 4294967297 became 1"]),
    ({"seed": 2**32 - 1}, []), ({"seed": -1, "lyrics": ""}, ["not used, and at their defaults: seed"]),
])
def test_what_became_of_large_ones_is_said(body, lines):
    said = notes(**body, use_random_seed=False)
    assert said == tuple(line for line in lines if not line.startswith("not used") or said)


def test_one_that_is_not_used_is_not_folded():
    assert notes(seed=FOLDED) == ("seed was not used: use_random_seed is true",)


def test_the_chat_api_says_it_too():
    assert chat_notes(seed=FOLDED + 7) == ("seed was taken modulo 4294967296: 4294967303 became 7",)
    assert chat_notes(audio_config={"seed": f"{FOLDED}"}) == (
        "audio_config.seed was taken modulo 4294967296: 4294967296 became 0",)


@pytest.mark.parametrize("sent", [2**63, str(2**63), -2, "1,-5", f"1,{2**64}", [2**63], "9" * 5000, 1e30, "1e30"])
def test_larger_ones_are_refused(sent):
    assert refusal(seed=sent) == f"seed: must be between 0 and {LARGEST}, or -1 for a random seed" or (
        sent == "9" * 5000 and refusal(seed=sent) == "seed: must be a whole number")


@pytest.mark.parametrize("sent", ["x", "1.5", 1.5, "1;2", True and "yes", "0x10", "1_0"])
def test_what_is_no_seed(sent):
    assert refusal(seed=sent) == "seed: must be a whole number"


def test_steps_are_the_models_to_bound():
    """The pipeline makes the most that the model can and says so, whichever it is: see test_song_notes."""
    for body in ({}, {"model": "tiny-turbo"}, {"model": "tiny-base"}):
        assert song(inference_steps=50, **body)["steps"] == 50
        assert notes(inferenceSteps="50", **body) == ()
