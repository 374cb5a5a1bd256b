"""Jobs that ended long ago go with their files, and so do files that no job knows; what is young or runs stays."""

# mypy: allow-untyped-calls

import os
import time

import pytest

from frontend.jobs.job import AudioFile, Work
from frontend.services import Services
from frontend.settings import resolve

WORK = Work({"caption": "x"}, "wav")


def settings(state, **flags):
    return resolve({"state": str(state), "triton_url": "127.0.0.1:9", **flags}, {}, {})


async def make(services, *names):
    """An ended job with these files."""
    job = await services.store.submit(WORK, 100)
    files = [AudioFile(f"/audio/{name}", name, "wav") for name in names]
    for name in names:
        (services.folders.audio / name).write_bytes(b"x")
    await services.store.finish(await services.store.claim("w", 60), {}, files)
    return job.id


def kept(services):
    return sorted(path.name for path in services.folders.audio.iterdir())


async def test_the_newest_jobs_are_kept(tmp_path):
    async with Services(settings(tmp_path)) as services:
        jobs = [await make(services, f"{n}a", f"{n}b") for n in range(4)]
        waiting = await services.store.submit(WORK, 100)
    async with Services(settings(tmp_path, keep_count="2")) as again:
        assert kept(again) == ["2a", "2b", "3a", "3b"]
        assert [await again.store.get(job) is not None for job in (*jobs, waiting.id)] == [False] * 2 + [True] * 3
        assert await again.store.find_audio("/audio/1a") is None


@pytest.mark.parametrize(("days", "is_kept"), [("0.01", False), ("1", True)])
async def test_jobs_are_kept_for_days(tmp_path, monkeypatch, days, is_kept):
    async with Services(settings(tmp_path)) as services:
        job = await make(services, "song")
    hour_later = time.time() + 3600
    monkeypatch.setattr("frontend.services.time.time", lambda: hour_later)
    async with Services(settings(tmp_path, keep_days=days)) as again:
        assert (await again.store.get(job) is not None) == is_kept
        assert kept(again) == (["song"] if is_kept else [])


async def test_files_that_no_job_knows_are_swept_once_they_are_old(tmp_path):
    async with Services(settings(tmp_path)) as services:
        await make(services, "known")
        for name in ("orphan.wav", ".half.wav.part", "young.wav"):
            (services.folders.audio / name).write_bytes(b"x")
        for name in ("known", "orphan.wav", ".half.wav.part"):
            os.utime(services.folders.audio / name, (1, 1))
    async with Services(settings(tmp_path)) as again:
        assert kept(again) == ["known", "young.wav"]
