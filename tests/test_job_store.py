"""The contract of a job store: queue order and bound, leases, fencing, attempts, cancelling, keys, durability."""

# mypy: allow-untyped-calls

import asyncio
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from frontend.jobs.job import (
    MAX_ATTEMPTS,
    MAX_CLAIMS,
    TRANSITIONS,
    AudioFile,
    Once,
    Progress,
    State,
    Work,
    is_tried_again,
)
from frontend.jobs.sqlite import SqliteJobStore
from frontend.jobs.store import KeyReused, LeaseLost, QueueFull, StoreError

WORK = Work({"caption": "música 🎵", "lyrics": "a\x00b", "seeds": [1, 2]}, "mp3", ("a note",))
FILES = (AudioFile("/audio/one.mp3", "one.mp3", "mp3"), AudioFile("/audio/two.mp3", "two.mp3", "mp3"))


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["sqlite"])
async def open_store(request, tmp_path, clock):
    """Opens the store under test; every call sees the same jobs, as another process would."""
    opened = []

    async def open_one():
        assert request.param == "sqlite"
        opened.append(await SqliteJobStore.open(tmp_path / "jobs.sqlite", clock))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store):
    return await open_store()


async def submit(store, count=1, limit=100):
    return [await store.submit(WORK, limit) for _ in range(count)]


async def test_a_job_goes_its_way(store, clock):
    job = await store.submit(WORK, 10)
    assert (job.state, job.position, job.created_at, job.work) == (State.QUEUED, 1, clock.now, WORK)
    assert await store.get(job.id) == job
    clock.now += 2
    claim = await store.claim("w", 30)
    assert claim.job == replace(job, state=State.RUNNING, position=0, started_at=clock.now, attempts=1)
    await store.progress(claim, Progress("denoise", 3, 8))
    assert (await store.get(job.id)).progress == Progress("denoise", 3, 8)
    clock.now += 5
    await store.finish(claim, {"seeds": [1, 2]}, FILES)
    done = await store.get(job.id)
    assert (done.state, done.finished_at, done.result) == (State.SUCCEEDED, clock.now, {"seeds": [1, 2]})
    assert done.error is None
    assert await store.claim("w", 30) is None


async def test_failure_is_kept(store):
    [job] = await submit(store)
    await store.fail(await store.claim("w", 30), "no such luck", "unlucky")
    failed = await store.get(job.id)
    assert (failed.state, failed.error, failed.error_code, failed.result) == (
        State.FAILED, "no such luck", "unlucky", None)


async def test_a_waiting_job_is_cancelled_and_the_others_move_up(store, clock):
    jobs = await submit(store, 3)
    clock.now += 1
    ended = await store.cancel(jobs[1].id, "Cancelled", "cancelled")
    assert ended == await store.get(jobs[1].id)
    assert (ended.state, ended.error, ended.error_code, ended.started_at, ended.finished_at, ended.position) == (
        State.FAILED, "Cancelled", "cancelled", None, clock.now, 0)
    assert [(await store.get(job.id)).position for job in jobs] == [1, 0, 2]
    assert [(await store.claim("w", 30)).job.id for _ in range(2)] == [jobs[0].id, jobs[2].id]
    assert await store.claim("w", 30) is None


async def test_a_running_job_is_cancelled_and_its_worker_changes_nothing(store, clock):
    [job] = await submit(store)
    claim = await store.claim("w", 30)
    clock.now += 100
    ended = await store.cancel(job.id, "too late", "expired")
    assert (ended.state, ended.error, ended.error_code) == (State.FAILED, "too late", "expired")
    for late in (store.finish(claim, {}, FILES), store.progress(claim, Progress("decode", 1, 2)),
                 store.renew(claim, 30), store.release(claim)):
        with pytest.raises(LeaseLost):
            await late
    assert await store.get(job.id) == ended
    assert await store.release_all("w") == 0
    assert await store.claim("w", 30) is None
    assert (await store.stats(50)).average_seconds is None, "it says nothing of how long a job takes"


async def test_what_has_ended_cannot_be_cancelled(store):
    jobs = await submit(store, 2)
    await store.finish(await store.claim("w", 30), {}, ())
    await store.fail(await store.claim("w", 30), "no", "no")
    before = [await store.get(job.id) for job in jobs]
    for job_id in (*(job.id for job in jobs), "no such id"):
        assert await store.cancel(job_id, "Cancelled", "cancelled") is None
    assert [await store.get(job.id) for job in jobs] == before


async def test_a_key_gives_the_same_job_and_is_durable(open_store):
    store = await open_store()
    once = Once("my key", "digest")
    job = await store.submit(WORK, 1, once)
    assert await store.submit(replace(WORK, audio_format="wav"), 1, once) == job, "also when the queue is full"
    with pytest.raises(KeyReused):
        await store.submit(WORK, 100, Once("my key", "another"))
    other = await store.submit(WORK, 100, Once("My key", "digest"))
    assert other.id != job.id
    await store.finish(await store.claim("w", 30), {}, ())
    await store.close()
    again = await open_store()
    assert (await again.submit(WORK, 100, once)).state is State.SUCCEEDED
    assert len(await again.list(10)) == 2


async def test_equal_keys_at_the_same_time_are_one_job(open_store):
    stores = [await open_store() for _ in range(3)]
    jobs = await asyncio.gather(*(store.submit(WORK, 100, Once("k", "d")) for _ in range(5) for store in stores))
    assert len({job.id for job in jobs}) == 1
    assert (await stores[0].stats(1)).queued == 1


async def test_old_jobs_are_forgotten_with_their_files_and_keys(store, clock):
    begin, jobs = clock.now, []
    for number in range(5):
        jobs.append(await store.submit(WORK, 100, Once(str(number), "d")))
        claim = await store.claim("w", 1000)
        clock.now = begin + 100 * (number + 1)
        if number == 2:
            await store.fail(claim, "no", "no")
        else:
            await store.finish(claim, {}, [AudioFile(f"/audio/{number}", f"{number}.mp3", "mp3")])
    waiting = await store.submit(WORK, 100)
    clock.now += 100_000
    assert [file.file for file in await store.expire(begin + 200, 100)] == ["0.mp3"], "the one that ended before"
    assert [file.file for file in await store.expire(0, 2)] == ["1.mp3"], "all but the last two"
    assert [(await store.get(job.id)) is None for job in [*jobs, waiting]] == [True] * 3 + [False] * 3
    assert await store.find_audio("/audio/1") is None
    assert await store.find_audio("/audio/3") is not None
    assert await store.expire(0, 2) == []
    assert (await store.submit(WORK, 100, Once("0", "other"))).id != jobs[0].id
    assert await store.unknown_files(["3.mp3", "1.mp3", "x", ".3.mp3.part"]) == {"1.mp3", "x", ".3.mp3.part"}
    assert await store.unknown_files([]) == set()


async def test_unknown_job(store):
    assert await store.get("no such id") is None


async def test_oldest_first_with_positions(store):
    jobs = await submit(store, 3)
    assert [job.position for job in jobs] == [1, 2, 3]
    assert (await store.claim("w", 30)).job.id == jobs[0].id
    assert [(await store.get(job.id)).position for job in jobs] == [0, 1, 2]
    assert [job.id for job in await store.list(2)] == [jobs[2].id, jobs[1].id]


async def test_the_bound_counts_waiting_jobs_only(store):
    await submit(store, 2, limit=2)
    with pytest.raises(QueueFull):
        await store.submit(WORK, 2)
    assert len(await store.list(10)) == 2, "a refused job leaves no trace"
    await store.claim("w", 30)
    await store.submit(WORK, 2)


async def test_the_bound_holds_under_concurrent_submissions(open_store):
    stores = [await open_store() for _ in range(3)]
    results = await asyncio.gather(
        *(store.submit(WORK, 5) for _ in range(5) for store in stores), return_exceptions=True)
    assert sum(isinstance(result, QueueFull) for result in results) == 10
    assert (await stores[0].stats(50)).queued == 5


async def test_no_job_is_claimed_twice(open_store):
    stores = [await open_store() for _ in range(3)]
    await submit(stores[0], 10)
    claims = await asyncio.gather(*(store.claim(f"w{i}", 30) for i in range(5) for store in stores))
    ids = [claim.job.id for claim in claims if claim is not None]
    assert len(ids) == len(set(ids)) == 10


async def test_a_lease_keeps_others_away_until_it_ends(store, clock):
    await submit(store)
    claim = await store.claim("a", 30)
    clock.now += 29
    assert await store.claim("b", 30) is None
    await store.renew(claim, 30)
    clock.now += 29
    assert await store.claim("b", 30) is None
    clock.now += 1
    assert (await store.claim("b", 30)).job.attempts == 2


@pytest.mark.parametrize("late", ["renew", "progress", "finish", "fail", "release"])
@pytest.mark.parametrize("owner", ["a", "b"])
async def test_a_worker_that_lost_its_lease_changes_nothing(store, clock, late, owner):
    [job] = await submit(store)
    old = await store.claim("a", 30)
    clock.now += 31
    new = await store.claim(owner, 30)
    assert new.token > old.token
    before = await store.get(job.id)
    arguments = {"renew": (30,), "progress": (Progress("decode", 1, 2),), "finish": ({}, FILES),
                 "fail": ("late", "late"), "release": ()}[late]
    with pytest.raises(LeaseLost):
        await getattr(store, late)(old, *arguments)
    assert await store.get(job.id) == before
    assert await store.find_audio(FILES[0].path) is None
    await store.finish(new, {}, FILES)
    with pytest.raises(LeaseLost):
        await store.fail(new, "after the end", "late")


async def test_a_worker_whose_lease_ended_may_go_on_while_nobody_took_the_job(store, clock):
    await submit(store)
    claim = await store.claim("a", 30)
    clock.now += 31
    await store.finish(claim, {}, ())


async def test_a_released_job_keeps_its_place_and_waits_its_delay(store, clock):
    jobs = await submit(store, 2)
    claim = await store.claim("w", 30)
    await store.progress(claim, Progress("denoise", 1, 8))
    await store.release(claim, delay=10)
    back = await store.get(jobs[0].id)
    assert (back.state, back.position, back.attempts) == (State.QUEUED, 1, 1)
    assert (back.started_at, back.progress) == (None, None)
    assert (await store.claim("w", 30)).job.id == jobs[1].id, "the delay holds up nobody else"
    clock.now += 10
    assert (await store.claim("w", 30)).job.attempts == 2


@pytest.mark.parametrize(
    ("status", "attempts", "claims", "again"),
    [
        (503, 1, 1, True), (504, 1, 59, True), (503, 1, MAX_CLAIMS, False), (500, 1, 1, True), (500, 2, 50, True),
        (500, MAX_ATTEMPTS, 3, False), (400, 1, 1, False), (499, 1, 1, False),
    ],
)
def test_what_goes_back_to_the_queue(status, attempts, claims, again):
    assert is_tried_again(status, attempts, claims) is again


async def test_forgiven_attempts_do_not_count(store):
    await submit(store)
    for _ in range(MAX_ATTEMPTS + 3):
        claim = await store.claim("w", 30)
        assert claim.job.attempts == 1
        await store.release(claim, forgive=True)


async def test_a_job_that_loses_every_worker_fails(store, clock):
    [job] = await submit(store)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert (await store.claim("w", 30)).job.attempts == attempt
        assert await store.reap("r") == []
        clock.now += 31
    assert await store.claim("w", 30) is None
    assert await store.reap("w") == [], "the last worker may still make it"
    [failed] = await store.reap("r")
    assert failed == await store.get(job.id)
    assert (failed.state, failed.error_code) == (State.FAILED, "lost")
    assert failed.error == "the worker was lost on each of 3 attempts"


async def test_a_job_that_nobody_waits_for_any_more_ends(store, clock):
    kept, queued, running = [await store.submit(WORK, 10, None, seconds) for seconds in (None, 30, 30)]
    await store.want([running.id], 60)
    clock.now += 29
    assert await store.reap("r") == []
    clock.now += 1
    assert (await store.claim("w", 300)).job.id == kept.id
    claim = await store.claim("w", 300)
    assert claim.job.id == running.id, "the other one is unwanted already"
    assert [job.id for job in await store.reap("r")] == [queued.id]
    await store.want([running.id, queued.id, "no such job"], 30)
    clock.now += 29
    assert await store.reap("r") == []
    clock.now += 1
    [ended] = await store.reap("r")
    assert ended == await store.get(running.id)
    for job in (ended, await store.get(queued.id)):
        assert (job.state, job.error, job.error_code) == (State.FAILED, "The client left", "cancelled")
    with pytest.raises(LeaseLost):
        await store.renew(claim, 30)
    assert (await store.stats(50)).average_seconds is None, "it says nothing of how long a job takes"
    assert (await store.get(kept.id)).state is State.RUNNING


async def test_a_finished_job_is_not_reaped(store, clock):
    job = await store.submit(WORK, 10, None, 30)
    await store.finish(await store.claim("w", 30), {}, FILES)
    clock.now += 100
    assert await store.reap("r") == []
    assert (await store.get(job.id)).state is State.SUCCEEDED


async def test_files_are_forgotten_and_the_job_is_not(store):
    jobs = await submit(store, 2)
    for names in (FILES[:1], FILES[1:]):
        await store.finish(await store.claim("w", 30), {}, names)
    assert await store.forget_audio(jobs[0].id) == [FILES[0]]
    assert await store.forget_audio(jobs[0].id) == []
    assert [await store.find_audio(file.path) for file in FILES] == [None, FILES[1]]
    assert (await store.get(jobs[0].id)).state is State.SUCCEEDED


async def test_release_all_gives_back_one_owners_jobs(store):
    jobs = await submit(store, 3)
    for owner in ("a", "b", "a"):
        await store.claim(owner, 30)
    assert await store.release_all("a") == 2
    assert [(await store.get(job.id)).state for job in jobs] == [State.QUEUED, State.RUNNING, State.QUEUED]
    assert (await store.claim("c", 30)).job.attempts == 1


async def test_audio_is_found_by_its_exact_path_alone(store):
    await submit(store)
    await store.finish(await store.claim("w", 30), {}, FILES)
    assert await store.find_audio("/audio/two.mp3") == FILES[1]
    for path in ("/audio/Two.mp3", "/audio/two.mp3 ", "two.mp3", "/audio/../audio/two.mp3", "/audio/%", "", "\x00"):
        assert await store.find_audio(path) is None


async def test_average_of_the_last_run_times_failures_included(store, clock):
    assert (await store.stats(2)).average_seconds is None
    for seconds in (100, 2, 4):
        await submit(store)
        claim = await store.claim("w", 1000)
        clock.now += seconds
        if seconds == 4:
            await store.fail(claim, "x", "x")
        else:
            await store.finish(claim, {}, ())
    assert (await store.stats(2)).average_seconds == 3
    await submit(store, 2)
    await store.claim("w", 30)
    stats = await store.stats(50)
    assert (stats.queued, stats.running) == (1, 1)
    assert stats.average_seconds == pytest.approx(106 / 3)


async def test_analyses_are_no_songs_and_do_not_count_in_the_average(store, clock):
    for kind, seconds in (("song", 8), ("codes", 1), ("understand", 2), ("metadata", 3)):
        await store.submit(replace(WORK, song={**WORK.song, "kind": kind}), 10)
        claim = await store.claim("w", 30)
        clock.now += seconds
        await store.finish(claim, {}, ())
    assert (await store.stats(2)).average_seconds == 8


async def test_jobs_survive_the_store(open_store, clock):
    first = await open_store()
    jobs = await submit(first, 2)
    claim = await first.claim("w", 30)
    await first.finish(claim, {"x": 1}, FILES)
    before = [await first.get(job.id) for job in jobs]
    await first.close()
    second = await open_store()
    assert [await second.get(job.id) for job in jobs] == before
    assert await second.find_audio(FILES[0].path) == FILES[0]
    assert (await second.claim("w", 30)).job.id == jobs[1].id


async def test_an_acknowledged_job_survives_kill_9(tmp_path):
    """The process dies right after submit has answered."""
    script = (
        "import asyncio, os, sys\nfrom pathlib import Path\nfrom frontend.jobs.job import Work\n"
        "from frontend.jobs.sqlite import SqliteJobStore\n"
        "async def main():\n"
        "    store = await SqliteJobStore.open(Path(sys.argv[1]))\n"
        "    job = await store.submit(Work({'caption': 'x'}, 'wav'), 5)\n"
        "    print(job.id, flush=True)\n    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())")
    path = tmp_path / "jobs.sqlite"
    command = [sys.executable, "-c", script, str(path)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert done.returncode == -9, done.stderr
    store = await SqliteJobStore.open(path)
    job = await store.get(done.stdout.strip())
    assert job is not None
    assert job.work.audio_format == "wav"
    await store.close()


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", State)
async def test_sqlite_allows_exactly_the_moves_of_the_state_machine(tmp_path, old, new):
    store = await SqliteJobStore.open(tmp_path / "jobs.sqlite")
    insert = "INSERT INTO job (id, work, created_at, state, lease_owner, finished_at) VALUES ('x', '{}', 0, ?, ?, ?)"
    await store._run(lambda: store._db.execute(insert, (old, *_columns(old))))

    def move():
        store._db.execute("UPDATE job SET state = ?, lease_owner = ?, finished_at = ?", (new, *_columns(new)))

    if old == new or new in TRANSITIONS[old]:
        await store._run(move)
    else:
        with pytest.raises(sqlite3.IntegrityError, match="no such move"):
            await store._run(move)
    await store.close()


def _columns(state):
    """lease_owner and finished_at that go with a state."""
    return ("w" if state is State.RUNNING else None, 1.0 if state in (State.SUCCEEDED, State.FAILED) else None)


async def test_a_newer_database_is_refused(tmp_path):
    path = tmp_path / "jobs.sqlite"
    await (await SqliteJobStore.open(path)).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer version"):
        await SqliteJobStore.open(path)


async def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "jobs.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        await SqliteJobStore.open(tmp_path / "jobs.sqlite")
