"""What the pipeline refuses, it refuses in one line that names the field."""

import numpy as np
import pytest

from tests.pipeline_client import sing


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"duration": 5}, "[400] duration: must be between 10 and 600"),
        ({"model": "gpt"}, "[400] model: must be one of acestep-tiny-turbo, acestep-tiny-base"),
        ({"steps": 201}, "[400] steps: must be between 1 and 200"),
        ({"task": "lego"}, "[400] task: lego needs one of the models acestep-tiny-base"),
        ({"task": "cover"}, "[400] src_audio: is needed by cover, or codes"),
        ({"task": "repaint"}, "[400] src_audio: is needed by repaint"),
        ({"task": "cover", "src_audio": np.zeros((2, 0), np.float32)}, "[400] src_audio: is empty"),
        ({"src_audio": np.full((2, 5), np.nan, np.float32)}, "[400] src_audio: must hold numbers only"),
        (
            {"task": "repaint", "codes": [[1]]},
            "[400] codes: cannot be used with repaint; only with text2music and cover",
        ),
        ({"codes": [[1], [2]]}, "[400] codes: must have one list for all items or one for each of the 1"),
        (
            {"task": "repaint", "src_audio": np.ones((2, 96_000), np.float32), "repaint_start": 1, "repaint_end": 0.5},
            "[400] repaint_end: must be above repaint_start (1), and is 0.5",
        ),
        ({"timesteps": [0.2, 0.4]}, "[400] timesteps: must decrease"),
        ({"kind": "dance"}, "[400] kind: must be one of song, codes, understand, metadata, sample, format, describe, "
         'ping, not "dance"'),
    ],
)
async def test_refusals(stack, change, line):
    song = await sing(stack.triton_grpc, caption="x", **change)
    assert song.error == line
    assert song.events == []


async def test_describe_tells_what_is_served(stack):
    about = (await sing(stack.triton_grpc, kind="describe")).done
    assert about["default"] == "acestep-tiny-turbo"
    assert [model["name"] for model in about["models"]] == ["acestep-tiny-turbo", "acestep-tiny-base"]
    assert "acestep-v15-turbo" in about["models"][0]["aliases"]
    assert about["embedded"] is True
    assert about["capacity"] >= 1


async def test_a_base_model_is_chosen_by_name(stack):
    base = await sing(stack.triton_grpc, caption="x", model="acestep-tiny-base", steps=3, duration=10, seeds=[1])
    turbo = await sing(stack.triton_grpc, caption="x", steps=3, duration=10, seeds=[1])
    assert base.done["model"] == "acestep-tiny-base"
    assert base.done["steps"] == 3
    assert base.audio().tobytes() != turbo.audio().tobytes()


async def test_the_events_come_in_order(stack):
    song = await sing(stack.triton_grpc, caption="x", duration=10, seeds=[1, 2], steps=3)
    types = [event["type"] for event in song.events if event["type"] != "progress"]
    assert types == ["metadata", *["audio"] * 4, "done"]
    phases = [event["phase"] for event in song.events if event["type"] == "progress"]
    assert phases == ["condition"] * 2 + ["denoise"] * 6 + ["decode"] * 4
    for phase in ("condition", "denoise", "decode"):
        steps = [event["done"] for event in song.events if event.get("phase") == phase]
        assert steps == list(range(1, len(steps) + 1))
    peaks = [abs(song.audio(item)).max() for item in (0, 1)]
    assert song.done["peaks"] == pytest.approx(peaks, rel=1e-6)
