"""A caller who leaves ends its song at once, whatever it waits for; uploads are touched only by who has a place."""

import asyncio
import time

import numpy as np
import pytest

from pipeline.errors import SongError
from pipeline.line import Attendance, Line, let_end
from pipeline.lm.engine import Piece
from tests import exported
from tests.support.fake_triton import Sender, Shell

UPLOAD = np.full((2, 480_000), 0.1, np.float32)


@pytest.fixture
async def shell(monkeypatch):
    shell = Shell(exported.repository(), places=1, monkeypatch=monkeypatch)
    yield shell
    shell.let_go()
    shell.close()


async def leaves(shell, request):
    """The request's caller hangs up; the song is gone, its place with it, while nothing that it waited for goes on."""
    request.sender.is_gone = True
    sender = await request.end()
    assert sender.error == "[499] the song was cancelled"
    assert shell.gauges.get("acestep_songs_in_flight", 0) == 0


@pytest.mark.parametrize(("model", "arrays", "body"), [
    ("-conditioning", {}, {}),
    ("-dit", {}, {}),
    ("vae_decoder", {}, {}),
    ("vae_encoder", {"src_audio": UPLOAD}, {"task": "cover-nofsq"}),
    ("vae_encoder", {"reference_audio": UPLOAD}, {}),
    ("vae_encoder", {"src_audio": UPLOAD}, {"kind": "understand"}),
    ("-tokenize", {"src_audio": UPLOAD}, {"task": "cover"}),
    ("-detokenize", {}, {"codes": [[7] * 50]}),
])
async def test_whatever_model_a_song_waits_for_it_leaves_at_once(shell, model, arrays, body):
    shell.held.add(model)
    request = shell.start(arrays, **body)
    await shell.until_called(model)
    await leaves(shell, request)
    assert shell.gauges["acestep_songs_total 499"] == 1
    shell.let_go()
    shell.called.clear()
    assert (await shell.start().end()).events[-1]["type"] == "done"
    assert sum(name.endswith("-dit") for name in shell.called) == 2  # the new song's alone


async def test_a_song_that_waits_for_a_place_leaves_at_once_and_the_others_keep_their_order(shell):
    shell.held.add("-conditioning")
    first = shell.start()
    await shell.until_called("-conditioning")
    waiting = [shell.start({"src_audio": UPLOAD}, task="cover-nofsq", caption=str(number)) for number in range(4)]
    await asyncio.sleep(0.1)
    waiting[1].sender.is_gone = True
    assert (await waiting[1].end()).error == "[499] the song was cancelled"
    assert not first.task.done()
    ended = []
    for number in (0, 2, 3):
        waiting[number].task.add_done_callback(lambda _, number=number: ended.append(number))
    shell.let_go()
    await asyncio.gather(*(waiting[number].end() for number in (0, 2, 3)))
    assert ended == [0, 2, 3]


class Silent:
    """An LM that takes every text and never writes a word."""

    def __init__(self):
        self.roles = []

    async def stream(self, prompt, parameters):
        self.roles.append(parameters["extra_args"]["acestep"]["role"])
        await asyncio.Event().wait()
        yield Piece("")


@pytest.mark.parametrize("body", [{"thinking": True}, {"kind": "sample"}, {"sample_query": "a waltz"}])
async def test_a_song_leaves_an_lm_that_says_nothing(shell, body):
    silent = Silent()
    shell.model._studio.lm.engines["vllm"] = silent
    request = shell.start(**body)
    async with asyncio.timeout(10):
        while not silent.roles:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    begin = time.monotonic()
    await leaves(shell, request)
    assert time.monotonic() - begin < 4  # an engine that does not answer is told for 5 s, without the song
    assert silent.roles[-1] == "cancel"


async def test_uploads_are_touched_only_by_who_has_a_place(shell):
    shell.held.add("-conditioning")
    first = shell.start()
    await shell.until_called("-conditioning")
    waiting = shell.start({"src_audio": UPLOAD, "reference_audio": UPLOAD}, task="cover-nofsq")
    await asyncio.sleep(0.15)
    assert [waiting.inputs[name].reads for name in ("request", "src_audio", "reference_audio")] == [1, 0, 0]
    shell.let_go()
    assert (await waiting.end()).events[-1]["type"] == "done"
    assert waiting.inputs["src_audio"].reads == 1
    assert (await first.end()).events[-1]["type"] == "done"


@pytest.mark.parametrize(("arrays", "body", "error"), [
    ({}, {"steps": 0}, "steps: must be between 1 and 200"),
    ({}, {"model": "nobody"}, "model: must be one of"),
    ({}, {"task": "cover"}, "src_audio: is needed by cover"),
    ({"src_audio": UPLOAD[:, :0]}, {"task": "cover"}, "src_audio: is empty"),
    ({"src_audio": UPLOAD}, {"task": "repaint", "repaint_start": 12}, "repaint_end: must be above repaint_start"),
    ({}, {"model": exported.TURBO, "timesteps": [1 - i / 30 for i in range(21)]}, "timesteps: must have at most 20"),
    ({}, {"codes": [[64_000]]}, "codes: each must be between 0 and 63999"),
    ({}, {"kind": "poem"}, "kind: must be one of"),
])
async def test_what_is_wrong_is_said_while_every_place_is_taken(shell, arrays, body, error):
    shell.held.add("-conditioning")
    shell.start()
    await shell.until_called("-conditioning")
    wrong = shell.start(arrays, **body)
    assert (await wrong.end()).error.startswith(f"[400] {error}")
    assert all(tensor.reads == 0 for name, tensor in wrong.inputs.items() if name != "request")


async def test_audio_that_is_no_number_is_refused_by_who_has_a_place(shell):
    upload = UPLOAD.copy()
    upload[0, 7] = np.nan
    sender = await shell.start({"src_audio": upload}, task="cover").end()
    assert sender.error == "[400] src_audio: must hold numbers only"


async def test_nobody_is_asked_or_told_anything_after_the_last_response():
    line = Line(sender := Sender())
    sender.is_gone = True
    assert line.has_left()
    line.send(type("Answer", (), {"error": "over"}), flags=1)
    assert not line.has_left()  # the sender would fail the test if it were asked
    line.send(type("Answer", (), {"error": "again"}))
    assert sender.error == "over"


async def test_work_that_is_done_when_its_caller_leaves_counts():
    gone = asyncio.Event()

    async def stubborn():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return "sent already"

    gone.set()
    assert await Attendance(0.01).during(stubborn(), gone.is_set) == "sent already"

    async def fails():
        raise SongError(400, "caption: no")

    with pytest.raises(SongError, match="caption"):
        await Attendance(0.01).during(fails(), lambda: False)


async def test_what_cannot_be_taken_back_is_let_end():
    ended = asyncio.Event()

    async def call():
        await asyncio.sleep(0.05)
        ended.set()

    task = asyncio.create_task(let_end(call()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
