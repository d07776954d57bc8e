"""The SQLite file of jobs: its tables, its version, and transactions that survive what they must survive."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge_runtime.errors import StateError

FILE: Final = "jobs.sqlite"
VERSION: Final = 1
_WAIT_SECONDS: Final = 30.0
_WAL_BYTES: Final = 64 * 1024**2
_TABLES: Final = """
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
CREATE TABLE parts (job TEXT NOT NULL, role TEXT NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (job, role));
"""


class Database:
    """One connection behind a lock. Safe to share between threads, and the file between processes."""

    def __init__(self, path: Path) -> None:
        """Open or make the file, readable for its owner alone; raises StateError, also for one of a newer version."""
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = sqlite3.connect(
                path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise StateError("the jobs can't be kept here", got=f"{path}: {error}") from error
        self._connection.row_factory = sqlite3.Row
        try:
            self._prepare(path)
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """Do all or nothing. `durable`: it outlives a power cut, not only the process; raises StateError."""
        with self._lock, _told():
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def forget(self) -> None:
        """Write what was deleted over in the log too; a reader in another process may put that off."""
        with self._lock, _told():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file; what was committed is there."""
        with self._lock:
            self._connection.close()

    def _prepare(self, path: Path) -> None:
        with self._lock, _told():
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
            self._connection.execute("PRAGMA secure_delete = ON")  # a deleted key must not lie in a free page
        with self.transaction(durable=True) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise StateError(
                    "the jobs were kept by a newer nanoedge", got=f"{path.name} of version {version}",
                    allowed=f"version {VERSION}", hint="use the newer nanoedge, or another folder with --state",
                )
            if version < VERSION:
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(
            "the jobs can't be kept", got=error, hint="is the disk full, or the state folder read-only?"
        ) from error
