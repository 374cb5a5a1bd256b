"""Jobs followed within the process: no job is told twice, none is forgotten too early or kept for ever."""

# mypy: allow-untyped-calls

import asyncio
from contextlib import aclosing

from frontend.jobs.job import Work
from frontend.live import Live, Queued, Retrying, Started
from frontend.services import Services
from frontend.settings import resolve
from frontend.songs.events import Planning

WORK = Work({"caption": "x"}, "mp3")


async def test_a_job_that_goes_back_to_the_queue_is_told_its_place_again(tmp_path):
    settings = resolve({"state": str(tmp_path), "triton_url": "127.0.0.1:9"}, {}, {})
    async with Services(settings) as services:
        job = await services.store.submit(WORK, 10)
        async with asyncio.timeout(20), aclosing(services.follow(job.id)) as entries:
            assert (await anext(entries)).event == Queued(1)
            claim = await services.store.claim("w", 30)
            assert claim is not None
            services.live.say(job.id, Started(1))
            assert (await anext(entries)).event == Started(1)
            await services.store.release(claim)
            services.live.say(job.id, Retrying("away", 0.0))
            assert (await anext(entries)).event == Retrying("away", 0.0)
            assert (await anext(entries)).event == Queued(1)
            async with aclosing(services.follow(job.id)) as late:
                told = [(await anext(late)).event for _ in range(3)]
            assert told == [Started(1), Retrying("away", 0.0), Queued(1)]


def test_the_last_follower_of_a_job_long_ended_takes_its_log_with_him():
    live = Live()
    with live.listen("old"):
        live.say("old", Planning("x"))
        live.end("old")
        for other in range(100):
            live.say(str(other), Planning("x"))
            live.end(str(other))
        with live.listen("old") as second:
            assert second.take(), "it is still followed"
    with live.listen("old") as late:
        assert not late.take()


def test_a_job_that_ended_a_moment_ago_is_remembered():
    live = Live()
    live.say("job", Planning("x"))
    live.end("job")
    with live.listen("job") as late:
        assert [entry.event for entry in late.take()] == [Planning("x")]
