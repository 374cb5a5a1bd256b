"""The job store on one SQLite file: one thread, write-ahead log, every commit on disk before it is answered."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from . import schema
from .job import MAX_ATTEMPTS, AudioFile, Claim, Job, Once, Progress, State, Upload, Work
from .store import JobStore, KeyReused, LeaseLost, QueueFull, Stats, StoreError, StoreFailed

T = TypeVar("T")
Clock = Callable[[], float]

_WAITING = "(SELECT count(*) FROM job q WHERE q.state = 'queued' AND q.seq <= job.seq)"
_POSITION = f"CASE state WHEN 'queued' THEN {_WAITING} END"
_JOB = f"SELECT job.*, {_POSITION} AS position FROM job"
_UNWANTED = "coalesce(wanted_until <= :now, FALSE)"
_LAPSED = "state = 'running' AND lease_until <= :now"
_LOST = f"{_LAPSED} AND attempts >= :most"
_HELD = "id = :id AND state = 'running' AND lease_owner = :owner AND lease_token = :token"


class SqliteJobStore(JobStore):
    """See JobStore. `clock` gives Unix seconds; several processes may share the file."""

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self._open = False
        self._db: sqlite3.Connection

    @classmethod
    async def open(cls, path: Path, clock: Clock = time.time) -> SqliteJobStore:
        """Open or create the database; its folder must exist. Errors: StoreError."""
        store = cls(clock)
        try:
            await store._run(lambda: store._connect(path))
        except (sqlite3.Error, StoreFailed) as error:
            raise StoreError(f"{path}: {error}") from None
        return store

    async def submit(
        self, work: Work, limit: int, once: Once | None = None, wanted_seconds: float | None = None
    ) -> Job:
        job_id = str(uuid.uuid4())

        def insert() -> Job:
            with self._transaction() as db:
                if once is not None and (row := db.execute(f"{_JOB} WHERE once_key = ?", (once.key,)).fetchone()):
                    if row["once_digest"] != once.digest:
                        raise KeyReused
                    return _job(row)
                (waiting,) = db.execute("SELECT count(*) FROM job WHERE state = 'queued'").fetchone()
                if waiting >= limit:
                    raise QueueFull
                names, now = (None, None) if once is None else (once.key, once.digest), self._clock()
                wanted_until = None if wanted_seconds is None else now + wanted_seconds
                db.execute(
                    "INSERT INTO job (id, state, work, created_at, once_key, once_digest, wanted_until, makes_song)"
                    " VALUES (?, 'queued', ?, ?, ?, ?, ?, ?)",
                    (job_id, _to_json(asdict(work)), now, *names, wanted_until, work.makes_song))
                return _job(db.execute(f"{_JOB} WHERE id = ?", (job_id,)).fetchone())

        return await self._run(insert)

    async def get(self, job_id: str) -> Job | None:
        row = await self._run(lambda: self._db.execute(f"{_JOB} WHERE id = ?", (job_id,)).fetchone())
        return None if row is None else _job(row)

    async def list(
        self, limit: int, *, before: str | None = None, states: Collection[State] | None = None
    ) -> Sequence[Job]:
        wanted = tuple(State if states is None else states)
        marks = ", ".join("?" * len(wanted))
        older = "" if before is None else "AND seq < (SELECT seq FROM job WHERE id = ?)"
        values = (*wanted, *(() if before is None else (before,)), limit)
        rows = await self._run(lambda: self._db.execute(
            f"{_JOB} WHERE state IN ({marks}) {older} ORDER BY seq DESC LIMIT ?", values).fetchall())
        return [_job(row) for row in rows]

    async def uploads(self) -> Sequence[Upload]:
        rows = await self._run(lambda: self._db.execute(
            "SELECT work FROM job WHERE state IN ('queued', 'running')").fetchall())
        return [upload for row in rows for upload in _work(row["work"]).uploads.values()]

    async def claim(self, owner: str, lease_seconds: float) -> Claim | None:
        def take() -> Claim | None:
            now = self._clock()
            with self._transaction() as db:
                row = db.execute(
                    "UPDATE job SET state = 'running', started_at = :now, attempts = attempts + 1, progress = NULL,"
                    " lease_owner = :owner, lease_token = lease_token + 1, lease_until = :until WHERE seq ="
                    " (SELECT min(seq) FROM job WHERE ((state = 'queued' AND not_before <= :now)"
                    f" OR ({_LAPSED} AND attempts < :most)) AND NOT {_UNWANTED}) RETURNING *, NULL AS position",
                    {"now": now, "owner": owner, "until": now + lease_seconds, "most": MAX_ATTEMPTS}).fetchone()
            return None if row is None else Claim(_job(row), owner, row["lease_token"])

        return await self._run(take)

    async def want(self, job_ids: Collection[str], seconds: float) -> None:
        await self._run(lambda: self._db.execute(
            "UPDATE job SET wanted_until = ? WHERE id IN (SELECT value FROM json_each(?))"
            " AND state IN ('queued', 'running')", (self._clock() + seconds, json.dumps(list(job_ids)))))

    async def reap(self, owner: str) -> Sequence[Job]:
        def end() -> Sequence[Job]:
            over = "UPDATE job SET state = 'failed', finished_at = :now, lease_owner = NULL"
            now = self._clock()
            with self._transaction() as db:
                rows = db.execute(
                    f"{over}, was_cancelled = 1, error_code = 'cancelled', error = 'The client left' WHERE state IN"
                    f" ('queued', 'running') AND {_UNWANTED} RETURNING *, NULL AS position", {"now": now}).fetchall()
                rows += db.execute(
                    f"{over}, error_code = 'lost', error = :error WHERE {_LOST} AND lease_owner <> :owner"
                    " RETURNING *, NULL AS position",
                    {"now": now, "most": MAX_ATTEMPTS, "owner": owner,
                     "error": f"the worker was lost on each of {MAX_ATTEMPTS} attempts"}).fetchall()
            return [_job(row) for row in rows]

        return await self._run(end)

    async def renew(self, claim: Claim, lease_seconds: float) -> None:
        await self._write(claim, "lease_until = :until", until=self._clock() + lease_seconds)

    async def progress(self, claim: Claim, progress: Progress) -> None:
        await self._write(claim, "progress = :progress", progress=_to_json(asdict(progress)))

    async def finish(self, claim: Claim, result: Mapping[str, Any], files: Sequence[AudioFile]) -> None:
        rows = [(file.path, file.file, file.audio_format, claim.job.id) for file in files]
        await self._write(
            claim, "state = 'succeeded', finished_at = :now, lease_owner = NULL, result = :result", rows,
            now=self._clock(), result=_to_json(result))

    async def fail(self, claim: Claim, error: str, code: str) -> None:
        await self._write(
            claim, "state = 'failed', finished_at = :now, lease_owner = NULL, error = :error, error_code = :code",
            now=self._clock(), error=error, code=code)

    async def cancel(self, job_id: str, error: str, code: str) -> Job | None:
        def end() -> Job | None:
            with self._transaction() as db:
                row = db.execute(
                    "UPDATE job SET state = 'failed', finished_at = :now, lease_owner = NULL, was_cancelled = 1,"
                    " error = :error, error_code = :code WHERE id = :id AND state IN ('queued', 'running')"
                    " RETURNING *, NULL AS position",
                    {"now": self._clock(), "error": error, "code": code, "id": job_id}).fetchone()
            return None if row is None else _job(row)

        return await self._run(end)

    async def release(self, claim: Claim, *, delay: float = 0.0, forgive: bool = False) -> None:
        await self._write(
            claim, "state = 'queued', started_at = NULL, lease_owner = NULL, progress = NULL, not_before = :later,"
            " attempts = attempts - :forgiven", later=self._clock() + delay, forgiven=int(forgive))

    async def release_all(self, owner: str) -> int:
        return await self._run(lambda: self._db.execute(
            "UPDATE job SET state = 'queued', started_at = NULL, lease_owner = NULL, progress = NULL,"
            " attempts = attempts - 1 WHERE state = 'running' AND lease_owner = ?", (owner,)).rowcount)

    async def find_audio(self, path: str) -> AudioFile | None:
        row = await self._run(lambda: self._db.execute("SELECT * FROM audio WHERE path = ?", (path,)).fetchone())
        return None if row is None else _audio(row)

    async def forget_audio(self, job_id: str) -> Sequence[AudioFile]:
        rows = await self._run(lambda: self._db.execute(
            "DELETE FROM audio WHERE job_id = ? RETURNING *", (job_id,)).fetchall())
        return [_audio(row) for row in rows]

    async def expire(self, before: float, keep: int) -> Sequence[AudioFile]:
        def forget() -> Sequence[AudioFile]:
            with self._transaction() as db:
                db.execute("DELETE FROM expired")
                db.execute(
                    "INSERT INTO expired SELECT id FROM (SELECT id, finished_at, row_number() OVER (ORDER BY"
                    " finished_at DESC, seq DESC) AS place FROM job WHERE finished_at IS NOT NULL)"
                    " WHERE finished_at < ? OR place > ?", (before, keep))
                rows = db.execute("DELETE FROM audio WHERE job_id IN (SELECT id FROM expired) RETURNING *").fetchall()
                db.execute("DELETE FROM job WHERE id IN (SELECT id FROM expired)")
            return [_audio(row) for row in rows]

        return await self._run(forget)

    async def unknown_files(self, names: Collection[str]) -> Collection[str]:
        known = await self._run(lambda: self._db.execute(
            "SELECT file FROM audio WHERE file IN (SELECT value FROM json_each(?))",
            (json.dumps(list(names)),)).fetchall())
        return set(names) - {row["file"] for row in known}

    async def stats(self, window: int) -> Stats:
        def read() -> Stats:
            return Stats(*self._db.execute(
                "SELECT (SELECT count(*) FROM job WHERE state = 'queued'), (SELECT count(*) FROM job WHERE state ="
                " 'running'), (SELECT avg(seconds) FROM (SELECT finished_at - started_at AS seconds FROM job WHERE"
                " started_at IS NOT NULL AND finished_at IS NOT NULL AND NOT was_cancelled AND makes_song"
                " ORDER BY finished_at DESC LIMIT ?)),"
                " (SELECT created_at FROM job WHERE state = 'queued' ORDER BY seq LIMIT 1)",
                (window,)).fetchone())

        return await self._run(read)

    async def close(self) -> None:
        if self._open:
            self._open = False
            await self._run(self._db.close)
        self._thread.shutdown(wait=False)

    async def _write(
        self, claim: Claim, change: str, files: Sequence[tuple[str, str, str, str]] = (), **values: object
    ) -> None:
        """One fenced UPDATE: it happens only while the claim holds."""
        values |= {"id": claim.job.id, "owner": claim.owner, "token": claim.token}

        def update() -> None:
            with self._transaction() as db:
                if db.execute(f"UPDATE job SET {change} WHERE {_HELD}", values).rowcount != 1:
                    raise LeaseLost
                db.executemany("INSERT INTO audio (path, file, audio_format, job_id) VALUES (?, ?, ?, ?)", files)

        await self._run(update)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.OperationalError as error:
            raise StoreFailed(str(error)) from None

    def _connect(self, path: Path) -> None:
        if sqlite3.sqlite_version_info < (3, 37):
            raise StoreError(f"SQLite 3.37 or newer is needed, this Python has {sqlite3.sqlite_version}")
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
        self._open = True
        self._db.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._db.execute(f"PRAGMA {pragma}")
        with self._transaction() as db:
            if not schema.migrate(db):
                raise StoreError(f"{path}: was written by a newer version of this program")
        schema.prepare(self._db)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite has ended it itself after some errors
                self._db.execute("ROLLBACK")
            raise


def _work(text: str) -> Work:
    work = json.loads(text)
    uploads = {name: Upload(**upload) for name, upload in work.get("uploads", {}).items()}
    return Work(work["song"], work["audio_format"], tuple(work["notes"]), uploads, work.get("api", "native"))


def _job(row: sqlite3.Row) -> Job:
    progress = row["progress"]
    return Job(
        id=row["id"], state=State(row["state"]), work=_work(row["work"]),
        created_at=row["created_at"], started_at=row["started_at"], finished_at=row["finished_at"],
        position=row["position"] or 0, attempts=row["attempts"],
        progress=None if progress is None else Progress(**json.loads(progress)),
        result=None if row["result"] is None else json.loads(row["result"]),
        error=row["error"], error_code=row["error_code"],
    )


def _audio(row: sqlite3.Row) -> AudioFile:
    return AudioFile(row["path"], row["file"], row["audio_format"])


def _to_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
