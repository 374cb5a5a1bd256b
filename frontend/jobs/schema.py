"""The tables of the SQLite job store, and how a database of an earlier version is brought to them."""

from __future__ import annotations

import sqlite3

from .job import TRANSITIONS

# Entry n brings a database of user_version n to n + 1; entries are never edited, only added.
MIGRATIONS = (
    """
    CREATE TABLE job (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed')),
        work TEXT NOT NULL,
        created_at REAL NOT NULL,
        started_at REAL,
        finished_at REAL,
        not_before REAL NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        lease_owner TEXT,
        lease_token INTEGER NOT NULL DEFAULT 0,
        lease_until REAL NOT NULL DEFAULT 0,
        progress TEXT,
        result TEXT,
        error TEXT,
        error_code TEXT,
        CHECK ((state = 'running') = (lease_owner IS NOT NULL)),
        CHECK ((state IN ('succeeded', 'failed')) = (finished_at IS NOT NULL))
    ) STRICT;
    CREATE INDEX job_by_state ON job (state, seq);
    CREATE INDEX job_by_end ON job (finished_at) WHERE started_at IS NOT NULL AND finished_at IS NOT NULL;
    CREATE TABLE audio (
        path TEXT PRIMARY KEY,
        file TEXT NOT NULL UNIQUE,
        audio_format TEXT NOT NULL,
        job_id TEXT NOT NULL REFERENCES job (id)
    ) STRICT;
    """,
    "ALTER TABLE job ADD COLUMN was_cancelled INTEGER NOT NULL DEFAULT 0",
    """
    ALTER TABLE job ADD COLUMN once_key TEXT;
    ALTER TABLE job ADD COLUMN once_digest TEXT;
    CREATE UNIQUE INDEX job_by_once ON job (once_key) WHERE once_key IS NOT NULL;
    CREATE INDEX audio_by_job ON audio (job_id);
    """,
    "ALTER TABLE job ADD COLUMN wanted_until REAL",
    "ALTER TABLE job ADD COLUMN makes_song INTEGER NOT NULL DEFAULT 1",
)
_MOVES = ", ".join(f"('{old}', '{new}')" for old, allowed in TRANSITIONS.items() for new in sorted(allowed))
_GUARD = f"""
    CREATE TEMP TRIGGER job_moves BEFORE UPDATE OF state ON main.job
    WHEN old.state <> new.state AND (old.state, new.state) NOT IN (VALUES {_MOVES})
    BEGIN SELECT RAISE(ABORT, 'no such move of a job'); END
"""


def migrate(db: sqlite3.Connection) -> bool:
    """Bring the database to the last version, within the caller's transaction; False if it is newer than that."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        return False
    for script in MIGRATIONS[version:]:
        for statement in filter(str.strip, script.split(";")):
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    return True


def prepare(db: sqlite3.Connection) -> None:
    """What a connection needs beside the tables: a guard of the states' transitions, and room for lists."""
    db.execute(_GUARD)
    db.execute("CREATE TEMP TABLE expired (id TEXT PRIMARY KEY)")
