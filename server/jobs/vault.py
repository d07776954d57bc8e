"""A job's parts in the database: sealed when they are put, opened when they are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from server.jobs.database import Database
from server.jobs.job import Job
from server.sealing import Sealer


class Vault:
    """The parts of all jobs of one database. Safe to share between threads."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer

    def new_key(self, name: str) -> bytes:
        """Return a wrapped key for a new job, to be kept in its row."""
        return self._sealer.new_key(name)

    def put(self, connection: sqlite3.Connection, name: str, key: bytes, given: Mapping[str, bytes]) -> None:
        """Keep parts by role, within a transaction; a role that is there is replaced."""
        sealed = ((name, role, self._sealer.seal(key, name, role, data)) for role, data in given.items())
        connection.executemany("INSERT OR REPLACE INTO parts (job, role, sealed) VALUES (?, ?, ?)", sealed)

    def part(self, job: Job, role: str) -> bytes | None:
        """Return one part of a job; None when it isn't there."""
        return self.parts(job, role).get(role)

    def parts(self, job: Job, *roles: str) -> dict[str, bytes]:
        """Return a job's parts by role, those of `roles` or all; raises StateError when one can't be opened."""
        if job.key is None:
            return {}
        wanted = f"AND role IN ({', '.join('?' * len(roles))})" if roles else ""
        with self._database.transaction(durable=False) as connection:
            rows = connection.execute(
                f"SELECT role, sealed FROM parts WHERE job = ? {wanted}", (job.id, *roles)
            ).fetchall()
        return {row["role"]: self._sealer.open(job.key, job.id, row["role"], row["sealed"]) for row in rows}


def drop(connection: sqlite3.Connection, name: str, role: str) -> None:
    """Forget a part, within a transaction."""
    connection.execute("DELETE FROM parts WHERE job = ? AND role = ?", (name, role))
