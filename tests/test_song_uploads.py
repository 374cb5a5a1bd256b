"""Audio on its way to the pipeline: decoded side by side while other audio is sent, and never much of it at once."""

# mypy: allow-untyped-calls, allow-untyped-defs

import asyncio

import numpy as np
import pytest

from frontend.songs.client import SongClient
from frontend.songs.errors import SongError

SONGS = 6


class Wire:
    """A pipeline's request side: keeps every message until it is told to take one."""

    def __init__(self):
        self.sent = []

    def __call__(self, messages):
        return Call(self, messages)


class Call:
    def __init__(self, wire, messages):
        self._wire, self._messages = wire, messages
        self._taken = asyncio.Event()

    async def __aiter__(self):
        async for _ in self._messages:
            self._wire.sent.append(self._taken)
        await self._taken.wait()
        if not self._wire.sent:
            yield
        raise SongError(400, "heard")

    def cancel(self):
        pass


class Load:
    """One song's upload: `begun`, and decoded as soon as `may_end`."""

    def __init__(self):
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def __call__(self):
        self.begun.set()
        await self.may_end.wait()
        return np.zeros((2, 10), np.float32)


async def settle(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.001)
    for _ in range(20):
        await asyncio.sleep(0.001)


@pytest.fixture
async def sending(monkeypatch):
    """(wire, loads, tasks): the songs have all been asked for, in this order."""
    client, wire = SongClient("127.0.0.1:9"), Wire()
    monkeypatch.setattr(client, "_infer", wire)
    monkeypatch.setattr(client, "_instance", lambda: asyncio.sleep(0))
    loads = [Load() for _ in range(SONGS)]

    async def sing(load):
        async for _ in client.song({"kind": "song"}, "", {"src_audio": load}):
            pass

    tasks = [asyncio.create_task(sing(load)) for load in loads]
    await settle(lambda: loads[0].begun.is_set())
    yield wire, loads, tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()


async def test_uploads_are_decoded_side_by_side_while_one_is_sent(sending):
    wire, loads, _ = sending
    loads[0].may_end.set()
    await settle(lambda: wire.sent)
    assert [load.begun.is_set() for load in loads] == [True, True, True, False, False, False]
    loads[2].may_end.set()
    loads[1].may_end.set()
    await settle(lambda: loads[2].begun.is_set())
    assert len(wire.sent) == 1, "one after the other"
    assert not loads[3].begun.is_set(), "what is in memory is bounded"


async def test_a_slow_decoding_does_not_keep_others_from_being_sent(sending):
    wire, loads, tasks = sending
    loads[1].may_end.set()
    await settle(lambda: wire.sent)
    wire.sent[0].set()
    await settle(lambda: tasks[1].done())
    loads[2].may_end.set()
    await settle(lambda: len(wire.sent) == 2)
    assert not loads[0].may_end.is_set()
    assert loads[3].begun.is_set()


async def test_every_song_gets_its_turn_also_when_others_are_given_up(sending):
    wire, loads, tasks = sending
    tasks[1].cancel()
    tasks[4].cancel()
    for load in loads:
        load.may_end.set()
    for turn in range(SONGS - 2):
        await settle(lambda turn=turn: len(wire.sent) > turn)
        assert len(wire.sent) == turn + 1
        wire.sent[turn].set()
    await settle(lambda: all(task.done() for task in tasks))
