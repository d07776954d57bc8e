"""The SQLite file of jobs: its tables, and transactions that survive what they must survive."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from server.sqlite_file import Contents, connected, statements, told, transaction

FILE: Final = "jobs.sqlite"
_WAL_BYTES: Final = 64 * 1024**2
_FIRST: Final = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, caller TEXT NOT NULL, state TEXT NOT NULL,
    created REAL NOT NULL, started REAL, ended REAL, expires REAL NOT NULL, not_before REAL NOT NULL,
    owner TEXT, lease_until REAL, attempts INTEGER NOT NULL DEFAULT 0, provider TEXT,
    key BLOB, bytes INTEGER NOT NULL, idempotency_key TEXT, fingerprint BLOB,
    webhook_due REAL, webhook_attempts INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX once ON jobs (caller, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX alike ON jobs (caller, fingerprint, created) WHERE fingerprint IS NOT NULL;
CREATE INDEX line ON jobs (state, number);
CREATE INDEX ending ON jobs (expires);
CREATE TABLE parts (job TEXT NOT NULL, role TEXT NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (job, role))
"""
JOBS: Final = Contents(
    what="jobs", steps=(statements(_FIRST), statements("ALTER TABLE jobs ADD COLUMN fetched REAL")), wait_seconds=30.0,
    # Secure: a deleted key must not lie in a free page.
    pragmas=(f"journal_size_limit = {_WAL_BYTES}", "secure_delete = ON"),
)  # fmt: skip


class Database:
    """One connection behind a lock. Safe to share between threads, and the file between processes."""

    def __init__(self, path: Path) -> None:
        """Open or make the file, readable for its owner alone; raises StateError, also for one of a newer version."""
        self._lock, self._path = threading.Lock(), path
        self._connection = connected(path, JOBS)
        self._connection.row_factory = sqlite3.Row

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """Do all or nothing. `durable`: it outlives a power cut, not only the process; raises StateError."""
        with self._lock, told(JOBS, self._path):
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with transaction(self._connection) as connection:
                yield connection

    def forget(self) -> None:
        """Write what was deleted over in the log too; a reader in another process may put that off."""
        with self._lock, told(JOBS, self._path):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file; what was committed is there."""
        with self._lock:
            self._connection.close()
