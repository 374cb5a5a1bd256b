"""One seed is one song: the same bytes twice, alone or among others."""

import asyncio

import numpy as np
import pytest

from tests.pipeline_client import sing

SONG = {"caption": "soft piano", "lyrics": "[verse]\nla la la", "duration": 13.3, "seeds": [11]}
OTHERS = [
    {"caption": "x", "duration": 10, "seeds": [1], "shift": 1},
    {"caption": "a long caption " * 20, "lyrics": "la\n" * 200, "duration": 21.7, "seeds": [2], "steps": 5},
    {"caption": "drums", "duration": 17, "seeds": [3, 4], "steps": 11},
    {"caption": "钢琴 🎹", "lyrics": "[Verse]\n雨", "duration": 15, "seeds": [11], "timesteps": [0.9, 0.5, 0.2]},
]


@pytest.fixture(scope="module")
async def alone(stack):
    return (await sing(stack.triton_grpc, **SONG)).audio()


async def test_the_same_bytes_twice(stack, alone):
    again = (await sing(stack.triton_grpc, **SONG)).audio()
    assert again.tobytes() == alone.tobytes()


async def test_the_same_bytes_among_four_others(stack, alone):
    songs = await asyncio.gather(*(sing(stack.triton_grpc, **song) for song in (*OTHERS, SONG)))
    assert all(song.error is None for song in songs)
    assert songs[-1].audio().tobytes() == alone.tobytes()


async def test_an_item_of_a_batch_is_its_seed_alone(stack, alone):
    batch = await sing(stack.triton_grpc, **SONG | {"seeds": [10, 11, 12]})
    assert batch.done["seeds"] == [10, 11, 12]
    assert batch.audio(1).tobytes() == alone.tobytes()
    assert batch.audio(0).tobytes() != alone.tobytes()


async def test_another_seed_is_another_song(stack, alone):
    other = (await sing(stack.triton_grpc, **SONG | {"seeds": [12]})).audio()
    assert np.abs(other - alone).max() > 0.01 * np.abs(alone).max()


async def test_a_drawn_seed_is_reported_and_reproduces(stack):
    song = SONG | {"duration": 10, "seeds": [-1]}
    drawn = await sing(stack.triton_grpc, **song)
    again = await sing(stack.triton_grpc, **song | {"seeds": drawn.done["seeds"]})
    assert drawn.done["seeds"] != [-1]
    assert again.audio().tobytes() == drawn.audio().tobytes()
