"""A job that is cancelled ends at once, its song within a step, and nothing of it stays on disk."""

# mypy: allow-untyped-calls

import asyncio
import io
import time

import numpy as np
import pytest
import soundfile

from frontend.jobs.job import State, Work
from frontend.live import Ended
from tests.scripted import ended


def work(script, seeds=(1,), audio_format="wav", uploads=None):
    song = {"kind": "song", "model": "tiny-turbo", "caption": script, "lyrics": "", "vocal_language": "en", "bpm": None,
            "key_scale": "", "time_signature": "", "duration": None, "seeds": list(seeds)}
    return Work(song, audio_format, uploads=uploads or {})


async def submit(services, *args, **kwargs):
    async with services.uploads.intake() as intake:
        return await services.submit(work(*args, **kwargs), intake)


async def until(condition, seconds=20):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  another process fulfils it
            await asyncio.sleep(0.01)


@pytest.fixture
async def services(scripted, tmp_path):
    async with scripted.frontend(tmp_path, workers=1) as running:
        yield running
    assert list((tmp_path / "spool").iterdir()) == []


async def test_a_waiting_job_never_runs(services, scripted):
    running = await submit(services, "gate:first")
    waiting, last = [await submit(services, "x") for _ in range(2)]
    await until(lambda: scripted.attempts(running.id))
    assert await services.cancel(waiting.id)
    job = await services.store.get(waiting.id)
    assert (job.state, job.error, job.error_code) == (State.FAILED, "Cancelled", "cancelled")
    assert (await services.store.get(last.id)).position == 1
    scripted.open_gate("first")
    assert (await ended(services, last.id)).state is State.SUCCEEDED
    assert scripted.attempts(waiting.id) == 0
    assert (await ended(services, running.id)).state is State.SUCCEEDED


async def test_a_running_song_is_given_up_and_the_worker_goes_on(services, scripted):
    job, after = await submit(services, "step:denoise:1/8 wait:60"), await submit(services, "x")
    await until(lambda: scripted.attempts(job.id))
    begin = time.monotonic()
    assert await services.cancel(job.id, "took too long", "expired")
    record = await services.store.get(job.id)
    assert (record.state, record.error, record.error_code) == (State.FAILED, "took too long", "expired")
    await until(lambda: scripted.was_cancelled(job.id))
    assert time.monotonic() - begin < 20
    assert (await ended(services, after.id)).state is State.SUCCEEDED
    assert await services.store.get(job.id) == record, "nothing changes a job that has ended"
    assert not await services.cancel(job.id)
    assert not await services.cancel(after.id)
    assert not await services.cancel("no such job")


async def test_a_song_cancelled_while_its_files_are_written_leaves_none(services, scripted):
    """Caught anywhere between the last samples and the finished record."""
    for delay in (0.0, 0.01, 0.03, 0.06):
        job = await submit(services, "x", seeds=range(8), audio_format="mp3")
        async for entry in services.follow(job.id):
            if getattr(entry.event, "phase", "") == "write":
                break
        await asyncio.sleep(delay)
        was_cancelled = await services.cancel(job.id)
        record = await services.store.get(job.id)
        assert was_cancelled == (record.state is State.FAILED)
    last = await ended(services, (await submit(services, "x")).id)  # the one worker is done with the others
    await asyncio.sleep(0.3)
    jobs = await services.store.list(10)
    known = {path.rsplit("/", 1)[1] for job in jobs if job.result for path in job.result["audio"]}
    assert {file.name for file in services.folders.audio.iterdir()} == known
    assert last.state is State.SUCCEEDED


async def test_uploads_of_a_cancelled_job_are_deleted(services, scripted):
    file = io.BytesIO()
    soundfile.write(file, np.zeros((48_000, 2)), 48_000, format="WAV")
    jobs = []
    for _ in range(2):
        async with services.uploads.intake() as intake:
            sink = intake.receive("src_audio")
            await sink.write(file.getvalue())
            await sink.close()
            jobs.append(await services.submit(work("wait:60", uploads=await intake.measure()), intake))
    await until(lambda: scripted.attempts(jobs[0].id))
    folder = services.settings.state / "uploads"
    assert len(list(folder.iterdir())) == 2
    for job in jobs:
        assert await services.cancel(job.id)
    assert list(folder.iterdir()) == []


async def test_followers_hear_of_it(services, scripted):
    job = await submit(services, "wait:60")
    heard = asyncio.create_task(collect(services, job.id))
    await until(lambda: scripted.attempts(job.id))
    await services.cancel(job.id)
    events = await asyncio.wait_for(heard, 20)
    assert isinstance(events[-1], Ended)
    assert events[-1].job.error_code == "cancelled"


async def collect(services, job_id):
    return [entry.event async for entry in services.follow(job_id)]
