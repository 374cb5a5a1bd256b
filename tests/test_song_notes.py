"""What the pipeline did otherwise than asked is in the notes of the song's end, also for clients of Triton itself."""

import numpy as np
import pytest

from tests import exported
from tests.exported import one_thread as one_thread
from tests.support.graphs import Graphs
from tests.support.in_process import make_song

QUIET = np.zeros((2, 480_000), np.float32)


@pytest.fixture(scope="module")
def graphs():
    return Graphs(exported.repository())


@pytest.mark.parametrize(("request_", "source", "notes"), [
    ({"duration": 10}, None, ()),
    ({}, None, ("no duration given: 30 seconds",)),
    ({"fallback_duration": 12}, None, ("no duration given: 12 seconds",)),
    ({"duration": 10, "codes": [[5] * 50]}, None, ()),
    ({"codes": [[5] * 53]}, None, ()),
    ({"duration": 10, "codes": [[5] * 60]}, None,
     ("of 60 audio codes the first 50 were followed: the song has 10 seconds",)),
    ({"duration": 12, "codes": [[5] * 50]}, None, ("50 audio codes are 10 seconds; the rest follows silence",)),
    ({"duration": 10, "sampler_mode": "heun", "infer_method": "sde"}, None,
     ("sampler_mode heun was not used: sde takes Euler's steps",)),
    ({"duration": 10, "steps": 50}, None, ("of 50 steps 20 were made, the most on acestep-tiny-turbo",)),
    ({"duration": 10, "steps": 20}, None, ()),
    ({"duration": 10, "steps": 50, "timesteps": [0.5]}, None, ()),
    ({"duration": 10, "steps": 21, "model": "acestep-tiny-base"}, None, ()),
    ({"task": "cover"}, QUIET, ("the source audio is silent",)),
    ({"task": "cover", "thinking": True, "use_format": "need", "caption": "x"}, QUIET,
     ("thinking was not used: cover uses no LM", "use_format was not used: cover uses no LM",
      "the source audio is silent")),
])
async def test_notes(graphs, request_, source, notes):
    request = {"seeds": [1], "steps": 1, **request_}
    song = await make_song(exported.repository(), graphs.run_silently, request, source)
    assert song.done.notes == notes
