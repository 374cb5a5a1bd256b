"""A stop is never lost: cancelling whoever speaks to the pipeline ends it, at whatever moment it comes."""

# mypy: allow-untyped-calls

import asyncio

from frontend.songs.client import SongClient
from frontend.songs.errors import SongError


async def ask_for_ever(client):
    while True:
        try:
            await client.describe()
        except SongError:
            await client.models_missing(["a", "b"])


async def test_cancelling_while_triton_refuses_connections():
    """gRPC may report the failed connection in the very moment of the cancellation, in its stead."""
    for round_ in range(300):
        client = SongClient("127.0.0.1:9")
        asking = asyncio.create_task(ask_for_ever(client))
        await asyncio.sleep(round_ % 50 / 5_000)
        asking.cancel()
        done, _ = await asyncio.wait((asking,), timeout=2)
        assert done, f"round {round_}"
        assert asking.cancelled()
        await client.close()
