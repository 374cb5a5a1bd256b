"""A job store that fails for a moment ends no song; one that fails for longer than the lease does."""

# mypy: allow-untyped-calls, disable-error-code="union-attr, arg-type, assignment"

import asyncio
import sqlite3
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest

from frontend.jobs.job import Progress, State, Work
from frontend.jobs.sqlite import SqliteJobStore
from frontend.jobs.store import LeaseLost, StoreFailed
from frontend.lease import Lease
from frontend.live import Live
from frontend.songs.errors import SongError
from frontend.songs.events import Audio, Done, Step
from frontend.uploads import Uploads
from frontend.worker import Folders, Workers

WORK = Work({"caption": "rain", "lyrics": "", "seeds": [5]}, "wav", ())
SONG_SECONDS = 0.5
LEASE_SECONDS = 0.6  # renewed in every song


class Faulty:
    """The store behind it; each method named in `faults` fails so many times first."""

    def __init__(self, store, **faults):
        self.store, self.faults, self.failed = store, faults, []

    def __getattr__(self, name):
        method = getattr(self.store, name)

        async def call(*args, **kwargs):
            if self.faults.get(name, 0) > 0:
                self.faults[name] -= 1
                self.failed.append(name)
                raise StoreFailed("database is locked")
            return await method(*args, **kwargs)

        return call


class Songs:
    """A pipeline whose songs take half a second; the first `errors` of those that are `begun` fail."""

    def __init__(self, errors=0):
        self.errors, self.begun = errors, 0

    async def song(self, wish, job_id, audio):
        self.begun += 1
        yield Step("denoise", 1, 2)
        await asyncio.sleep(SONG_SECONDS)
        if self.begun <= self.errors:
            raise SongError(503, "the song pipeline is not ready")
        yield Audio(0, 0, np.full((2, 1000), 0.25, np.float32))
        yield Done(model="m", seeds=(5,), duration=1000 / 48000, schedule=(1.0,), notes=(), timings={}, metadata={},
                   peaks=(0.25,))


@asynccontextmanager
async def working(folder, songs, **faults):
    """(store with faults, id) of one job, which a worker takes."""
    folders = Folders(folder / "spool", folder / "audio")
    for each in (folders.spool, folders.audio):
        each.mkdir()
    uploads = Uploads(folder / "uploads")
    uploads.open()
    store = Faulty(await SqliteJobStore.open(folder / "jobs.sqlite"), **faults)
    workers = Workers(store, songs, uploads, folders, Live(), LEASE_SECONDS)
    job = await store.submit(WORK, 10)
    workers.start(1)
    try:
        yield store, job.id
    finally:
        await workers.stop()
        uploads.close()
        await store.close()


async def ended(store, job_id):
    async with asyncio.timeout(20):
        while True:
            job = await store.store.get(job_id)
            if job.state.is_final:
                return job
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("method", ["claim", "renew", "progress", "finish"])
async def test_one_failure_ends_no_song(tmp_path, method):
    songs = Songs()
    async with working(tmp_path, songs, **{method: 1}) as (store, job_id):
        job = await ended(store, job_id)
        assert store.failed == [method]
        assert (job.state, job.attempts) == (State.SUCCEEDED, 1)
        assert await store.find_audio(job.result["audio"][0])
        assert len(list((tmp_path / "audio").iterdir())) == 1
    assert songs.begun == 1


async def test_a_song_that_is_to_be_tried_again_is(tmp_path):
    songs = Songs(errors=1)
    async with working(tmp_path, songs, release=1) as (store, job_id):
        job = await ended(store, job_id)
        assert (job.state, job.attempts) == (State.SUCCEEDED, 1)
        assert store.failed == ["release"]


async def test_a_lease_that_cannot_be_renewed_is_lost_when_it_has_run_out(tmp_path):
    store = Faulty(await SqliteJobStore.open(tmp_path / "jobs.sqlite"), renew=1_000_000)
    await store.submit(WORK, 10)
    claim = await store.claim("w", 0.3)
    begun = time.monotonic()
    with pytest.raises(LeaseLost):
        await Lease(store, claim, 0.3).keep()
    assert time.monotonic() - begun > 0.25
    assert len(store.failed) > 1
    await store.close()


class Flaky:
    """A connection that fails once when it is to commit."""

    def __init__(self, db):
        self.db, self.fails = db, True

    def __getattr__(self, name):
        return getattr(self.db, name)

    def execute(self, statement, *values):
        if statement == "COMMIT" and self.fails:
            self.fails = False
            raise sqlite3.OperationalError("disk I/O error")
        return self.db.execute(statement, *values)


async def test_a_commit_that_fails_changes_nothing_and_spoils_nothing(tmp_path):
    store = await SqliteJobStore.open(tmp_path / "jobs.sqlite")
    job = await store.submit(WORK, 10)
    claim = await store.claim("w", 30)
    store._db = Flaky(store._db)
    with pytest.raises(StoreFailed, match="disk I/O error"):
        await store.finish(claim, {}, ())
    assert (await store.get(job.id)).state is State.RUNNING
    await store.progress(claim, Progress("write", 0, 1))
    await store.finish(claim, {}, ())
    assert (await store.get(job.id)).state is State.SUCCEEDED
    await store.close()
