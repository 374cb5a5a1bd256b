"""The song that a chat request waits for: its end, its deadline, its files, and what becomes of it without a client."""

# mypy: allow-untyped-calls

import asyncio
import base64

import pytest

from frontend.chat.files import spliced
from frontend.chat.routes import create_app
from frontend.chat.song import Song
from frontend.errors import RequestError
from frontend.jobs.job import AudioFile, State, Work
from frontend.services import Services
from frontend.settings import resolve
from tests.scripted import ended
from tests.serving import served

WORK = Work({"caption": "x"}, "mp3", api="chat")
FILES = [AudioFile(f"/audio/{name}", name, "mp3") for name in ("one.mp3", "two.mp3")]
PATH = "/v1/chat/completions"


@pytest.fixture
async def services(tmp_path):
    """Without a Triton: what becomes of a job is what the tests make of it."""
    flags = {"state": str(tmp_path), "triton_url": "127.0.0.1:9", "generation_timeout": "1", "lease_seconds": "2"}
    async with Services(resolve(flags, {}, {})) as running:
        yield running


async def finish(services):
    """The only job, made: two files of which each holds its own name."""
    claim = await services.store.claim("w", 30)
    for file in FILES:
        (services.folders.audio / file.file).write_text(file.file)
    await services.store.finish(claim, {"audio": [file.path for file in FILES]}, FILES)
    return await services.store.get(claim.job.id)


async def test_a_song_that_has_ended_at_its_deadline_is_told(services):
    song = Song(services, await services.store.submit(WORK, 10))
    made = await finish(services)
    failed = Song(services, await services.store.submit(WORK, 10))
    await services.store.fail(await services.store.claim("w", 30), "no luck", "generation_failed")
    await asyncio.sleep(1.1)
    assert await song.made() == made
    with pytest.raises(RequestError, match="Generation failed: no luck"):
        await failed.made()


@pytest.mark.parametrize("gone", ["the record", "the file"])
async def test_a_song_without_one_of_its_files_is_an_error(services, gone):
    song = Song(services, await services.store.submit(WORK, 10))
    made = await finish(services)
    if gone == "the file":
        (services.folders.audio / "two.mp3").unlink()
    else:
        await services.store.forget_audio(made.id)
    with pytest.raises(RequestError, match="Generation failed: the song was deleted") as error:
        await song.files(made)
    assert error.value.status == 500


async def test_files_that_are_deleted_while_they_are_sent_are_sent(services):
    song = Song(services, await services.store.submit(WORK, 10))
    files = await song.files(await finish(services))
    await services.forget_audio((await services.store.list(1))[0].id)
    assert not any(services.folders.audio.iterdir())
    text = b"".join([part async for part in spliced(" ".join(file.mark for file in files), files)])
    assert [base64.b64decode(word).decode() for word in text.split()] == ["one.mp3", "two.mp3"]


async def test_a_job_whose_frontend_died_ends(services):
    """As the next process finds it: in the queue, and nobody says that he waits for it."""
    async with services.uploads.intake() as intake:
        job = await services.submit(WORK, intake, wanted_seconds=0.2)
        native = await services.submit(WORK, intake)
    job = await ended(services, job.id)
    assert (job.state, job.error, job.error_code) == (State.FAILED, "The client left", "cancelled")
    assert (await services.store.get(native.id)).state is State.QUEUED


async def test_what_needs_the_lm_is_refused_until_it_was_there_once(scripted, tmp_path):
    def asked(text, **fields):
        return client.post(PATH, json={"messages": [{"role": "user", "content": text}], **fields})

    async with (
        scripted.frontend(tmp_path, workers=1, lm=True) as services,
        served(create_app(services)) as client,
    ):
        services.engines_seen = frozenset({"pt"})
        for answer in (await asked("a happy song"), await asked("<prompt>x</prompt>", thinking=True),
                       await asked("<prompt>x</prompt>", sample_mode=True)):
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "15")
            assert answer.json()["detail"] == "The 5 Hz LM is not ready yet"
        codes = "<|audio_code_5|>" * 50
        for answer in (await asked("<prompt>x</prompt>"),
                       await asked("<prompt>x</prompt>", thinking=True, audio_code_string=codes)):
            assert answer.status_code == 200
        assert (await asked("a happy song", lm_backend="pt")).status_code == 200
        services.engines_seen = frozenset({"vllm"})
        assert (await asked("a happy song")).status_code == 200
