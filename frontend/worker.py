"""Workers: each takes a job, has the pipeline make the song, writes its files and settles the job."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .audio.decode import Floats, UnreadableAudio
from .audio.encode import gain, limit, write_file
from .audio.formats import SONG_FORMATS
from .audio.keep import delete
from .audio.spool import Spool, discard
from .audio.writers import Tags
from .catalogue import Catalogue
from .jobs.job import AudioFile, Claim, Progress, Upload, is_tried_again
from .jobs.store import JobStore, LeaseLost, StoreFailed
from .lease import Lease
from .live import Live, Retrying, Started
from .songs.client import SongClient
from .songs.errors import SongError
from .songs.events import Audio, Codes, Done, Findings, Metadata, Planning, Step
from .uploads import Uploads

log = logging.getLogger(__name__)
_PROGRESS_SECONDS = 0.5
_IDLE_SECONDS = 1.0


@dataclass(frozen=True)
class Folders:
    """Where samples are spooled and finished files lie."""

    spool: Path
    audio: Path


@dataclass(frozen=True)
class Heard:
    """A song as it came, besides its samples: its end, and the audio codes of those items that have some."""

    done: Done | Findings
    codes: Mapping[int, tuple[int, ...]]


class Workers:
    """As many jobs in flight as `start` said last; what they hold is given back by `stop`."""

    def __init__(
        self, store: JobStore, songs: SongClient, uploads: Uploads, folders: Folders, live: Live, lease_seconds: float
    ) -> None:
        self._store = store
        self._songs = songs
        self._uploads = uploads
        self._folders = folders
        self._live = live
        self._lease_seconds = lease_seconds
        self.owner = uuid.uuid4().hex
        self._wake = asyncio.Semaphore(0)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._count = 0
        self._catalogue: Catalogue | None = None
        self._songs_made: dict[str, asyncio.Task[tuple[dict[str, Any], list[AudioFile]]]] = {}

    def start(self, count: int, catalogue: Catalogue | None = None) -> None:
        """Have at most `count` jobs in flight from now on; `catalogue` is for what files and results say of the models.

        May be called again when either has changed: songs that are being made are not given up for a smaller count.
        """
        self._catalogue, self._count = catalogue, count
        for place in range(count):
            if place not in self._tasks or self._tasks[place].done():
                self._tasks[place] = asyncio.create_task(self._work(place), name=f"worker {place}")

    async def stop(self) -> None:
        """Cancel the songs in flight and give their jobs back to the queue."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._tasks and (count := await self._store.release_all(self.owner)):
            log.info("gave %d running job(s) back to the queue", count)
        self._tasks = {}

    def wake(self) -> None:
        """Tell one idle worker that a job was submitted."""
        self._wake.release()

    def drop(self, job_id: str) -> None:
        """Cancel the song of a job that the store has ended; it ends within one step."""
        if song := self._songs_made.get(job_id):
            song.cancel()

    async def _work(self, place: int) -> None:
        """Take jobs while there is a place for this worker."""
        while place < self._count:
            try:
                claim = await self._store.claim(self.owner, self._lease_seconds)
                if claim is not None:
                    if not self._wake.locked():  # the call that this job was submitted with
                        await self._wake.acquire()
                    await self._settle(claim)
                    continue
            except StoreFailed as error:
                log.warning("no job could be taken: %s", error)
            except Exception:
                log.exception("a worker failed outside of a song; it goes on")
            with suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_SECONDS):
                    await self._wake.acquire()
        self.wake()  # the call that it may have taken is for another one

    async def _settle(self, claim: Claim) -> None:
        """Run the job and record how it ended."""
        lease = Lease(self._store, claim, self._lease_seconds)
        try:
            result, files = await self._run_leased(claim, lease)
            await self._finish(claim, lease, result, files)
            await self._uploads.discard(claim.job.work.uploads.values())
        except LeaseLost:
            log.warning("job %s: was taken from its worker on attempt %d", claim.job.id, claim.job.attempts)
            self._live.end(claim.job.id)
        except SongError as error:
            await self._give_up_or_back(claim, lease, error)
        except Exception:
            log.exception("job %s: attempt %d failed", claim.job.id, claim.job.attempts)
            await self._give_up_or_back(claim, lease, SongError(500, "internal error"))

    async def _finish(self, claim: Claim, lease: Lease, result: dict[str, Any], files: Sequence[AudioFile]) -> None:
        try:
            await lease.write(lambda: self._store.finish(claim, result, files))
        except LeaseLost:
            with suppress(StoreFailed):  # the sweep finds them then
                unknown = await self._store.unknown_files([file.file for file in files])
                await self._unlink([file for file in files if file.file in unknown])
            raise
        self._live.end(claim.job.id)

    async def _give_up_or_back(self, claim: Claim, lease: Lease, error: SongError) -> None:
        """Back to the queue, where only faults count as attempts, or failed."""
        delay = min(0.5 * 2**claim.token, 20.0)
        again = is_tried_again(error.status, claim.job.attempts, claim.token)
        log.warning("job %s: %s%s", claim.job.id, error, f"; again in {delay:g} s" if again else "")
        with suppress(LeaseLost):
            if again:
                await lease.write(lambda: self._store.release(claim, delay=delay, forgive=error.status != 500))
                self._live.say(claim.job.id, Retrying(error.text, delay))
            else:
                code = {400: "invalid_request", 499: "cancelled"}.get(error.status, "generation_failed")
                await lease.write(lambda: self._store.fail(claim, error.text, code))
                self._live.end(claim.job.id)
                await self._uploads.discard(claim.job.work.uploads.values())

    async def _run_leased(self, claim: Claim, lease: Lease) -> tuple[dict[str, Any], list[AudioFile]]:
        """Make the song while the lease is kept alive; a lost lease and `drop` cancel it."""
        song = self._songs_made[claim.job.id] = asyncio.create_task(self._make(claim, lease))
        keeper = asyncio.create_task(lease.keep())
        try:
            await asyncio.wait((song, keeper), return_when=asyncio.FIRST_COMPLETED)
            if keeper.done():
                await keeper
            if song.cancelled():
                raise LeaseLost
            return await song
        finally:
            del self._songs_made[claim.job.id]
            song.cancel()
            keeper.cancel()
            await asyncio.gather(song, keeper, return_exceptions=True)

    async def _make(self, claim: Claim, lease: Lease) -> tuple[dict[str, Any], list[AudioFile]]:
        """Spool the song's samples, then write its files; of an analysis there is nothing but what was found."""
        self._live.say(claim.job.id, Started(claim.job.attempts))
        if claim.token > 1:
            await asyncio.to_thread(discard, self._folders.spool, f"{claim.job.id}-")
        writing: list[asyncio.Task[AudioFile]] = []
        try:
            async with Spool(self._folders.spool / f"{claim.job.id}-{claim.token}") as spool:
                heard = await self._listen(claim, lease, spool)
                done = heard.done
                if isinstance(done, Findings):
                    return _found(done, heard.codes, self._catalogue), []
                await lease.note(Progress("write", 0, len(done.seeds)))
                self._live.say(claim.job.id, Step("write", 0, len(done.seeds)))
                writing = [asyncio.create_task(self._write(claim, spool, done, i)) for i in range(len(done.seeds))]
                files = await asyncio.gather(*writing)
        except BaseException:
            ends = await asyncio.gather(*writing, return_exceptions=True)
            await self._unlink([end for end in ends if isinstance(end, AudioFile)])
            raise
        return _result(done, heard.codes, files, self._catalogue), list(files)

    async def _listen(self, claim: Claim, lease: Lease, spool: Spool) -> Heard:
        """Events of the song: samples go to the spool, codes to its result, the rest to the job's followers.

        Steps go to its record too, at most two a second.
        """
        reported = 0.0
        codes: dict[int, tuple[int, ...]] = {}
        work = claim.job.work
        audio = {name: partial(self._load, name, upload) for name, upload in work.uploads.items()}
        async with aclosing(self._songs.song(work.song, claim.job.id, audio)) as events:
            async for event in events:
                match event:
                    case Audio(item, offset, pcm):
                        await spool.write(item, offset, pcm)
                    case Step(phase, k, n):
                        self._live.say(claim.job.id, event)
                        if time.monotonic() - reported >= _PROGRESS_SECONDS:
                            await lease.note(Progress(phase, k, n))
                            reported = time.monotonic()
                    case Metadata() | Planning():
                        self._live.say(claim.job.id, event)
                    case Codes(item, values):
                        codes[item] = values
                    case Done() | Findings():
                        return Heard(event, codes)
        raise SongError(500, "the song pipeline ended without a result")

    async def _load(self, name: str, upload: Upload) -> Floats:
        """An upload as the pipeline's tensor."""
        try:
            return await self._uploads.load(upload)
        except UnreadableAudio as error:
            raise SongError(410, f"{name}: the uploaded file {error}") from None

    async def _write(self, claim: Claim, spool: Spool, done: Done, item: int) -> AudioFile:
        """One item's file, under a random name."""
        if not spool.frames(item):
            raise SongError(500, f"the song pipeline sent no audio for item {item}")
        audio_format = claim.job.work.audio_format
        name = f"{uuid.uuid4().hex}.{SONG_FORMATS[audio_format].suffix}"
        tags = _tags(claim, done, item, self._catalogue)
        factor = (limit if done.keeps_level else gain)(done.peaks[item])
        await write_file(spool.file(item), self._folders.audio / name, audio_format, factor, tags)
        return AudioFile(path=f"/audio/{name}", file=name, audio_format=audio_format)

    async def _unlink(self, files: Sequence[AudioFile]) -> None:
        """Delete files that no job will know."""
        if names := [file.file for file in files]:
            await asyncio.to_thread(delete, self._folders.audio, names)


def _tags(claim: Claim, done: Done, item: int, catalogue: Catalogue | None) -> Tags:
    comment = f"AI-generated; model {done.model}; seed {done.seeds[item]}"
    model = None if catalogue is None else catalogue.find(done.model)
    if model is not None and model.audio_is_noise:
        comment += "; noise: the embedded test checkpoint has random weights"
    caption = claim.job.work.song["caption"].strip() or done.metadata.get("caption", "")
    title = " ".join(caption.split())[:100] or "Untitled"
    return Tags(title=title, artist=f"ACE-Step ({done.model})", comment=comment)


def _result(
    done: Done, codes: Mapping[int, tuple[int, ...]], files: Sequence[AudioFile], catalogue: Catalogue | None
) -> dict[str, Any]:
    """What a job's record keeps of a song, for every API to show in its own words.

    `lm` is what the LM did for the song, `lm_model` the LM's name also when it did nothing. `codes` has a list for each
    file, also where all of them follow the same one.
    """
    return {
        **_known(done, catalogue),
        "audio": [file.path for file in files], "duration": done.duration, "schedule": list(done.schedule),
        "codes": [list(codes.get(item, codes[0])) for item in range(len(files))] if codes else None,
    }


def _found(
    findings: Findings, codes: Mapping[int, tuple[int, ...]], catalogue: Catalogue | None
) -> dict[str, Any]:
    """What a job's record keeps of an analysis, under the names of a song's."""
    return {
        **_known(findings, catalogue),
        "audio": [], "duration": findings.metadata.get("duration"),
        "codes": [list(codes[0])] if codes else None,
    }


def _known(done: Done | Findings, catalogue: Catalogue | None) -> dict[str, Any]:
    """What both have."""
    lm = None if catalogue is None else catalogue.lm
    return {
        "model": done.model, "seeds": list(done.seeds), "timings": dict(done.timings), "notes": list(done.notes),
        "metadata": dict(done.metadata), "lm": None if done.lm is None else asdict(done.lm),
        "lm_model": None if lm is None else lm.name,
    }
