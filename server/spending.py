"""What providers took for each API key, kept in the keys' database, and what a spend cap leaves.

Before an edit may leave, the price is held, so that two edits at once don't spend the same dollar; afterwards the hold
becomes the cost. A server that dies in between leaves the hold standing: the provider may have been paid. A job has one
entry, however many processes work on it: whoever goes on with it takes the place of what was held or counted before.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from edge_runtime.errors import OptionError, StateError
from server.key_store import FILE, KEYS
from server.keys import ApiKey
from server.sqlite_file import connected, told, transaction

logger = logging.getLogger(__name__)

_KEPT_SECONDS: Final = 400 * 86_400
"""A year for the operator's books."""


class Spending:
    """The ledger of one node. Safe to share between threads, and between processes."""

    def __init__(self, folder: Path | None, clock: Callable[[], float] = time.time) -> None:
        """Open nothing yet. Without a folder there are no keys, and nothing is asked of it."""
        self._folder, self._clock, self._lock = folder, clock, threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._late: list[tuple[str, tuple[object, ...]]] = []

    def spent(self, key_id: str) -> tuple[float, float]:
        """Return the dollars that were spent or are held today and this month, by UTC's calendar."""
        with self._locked() as connection:
            return self._spent(connection, key_id)

    def hold(self, key: ApiKey, usd: float, job: str | None = None) -> tuple[int, float]:
        """Hold up to `usd` of what the caps leave, a job's in place of its earlier one; returns it and how much."""
        with self._caught_up() as connection:
            connection.execute("DELETE FROM spending WHERE job = ?", (job,))
            held = min(usd, _left(key, *self._spent(connection, key.id)))
            row = connection.execute(
                "INSERT INTO spending (key_id, at, usd, job) VALUES (?, ?, ?, ?)", (key.id, self._clock(), held, job)
            ).lastrowid
        return int(row or 0), held

    def left(self, key: ApiKey) -> float:
        """Return the dollars that the caps leave; infinite without caps."""
        return _left(key, *self.spent(key.id)) if key.rule.capped else float("inf")

    def settle(self, hold: int, usd: float) -> None:
        """Say what a hold became: what was really spent, 0 for nothing."""
        if usd > 0:
            self._write("UPDATE spending SET usd = ? WHERE id = ?", usd, hold)
        else:
            self._write("DELETE FROM spending WHERE id = ?", hold)

    def add(self, key_id: str, usd: float, job: str | None = None) -> None:
        """Count what was spent, for a job instead of what it held, and forget what is older than a year."""
        now = self._clock()
        self._write(
            "INSERT INTO spending (key_id, at, usd, job) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (job) DO UPDATE SET usd = excluded.usd", key_id, now, usd, job,
        )  # fmt: skip
        self._write("DELETE FROM spending WHERE at < ?", now - _KEPT_SECONDS)

    def drop(self, job: str) -> None:
        """Give back what a job held: its provider refused it."""
        self._write("DELETE FROM spending WHERE job = ?", job)

    def seconds_to_more(self, key: ApiKey) -> int:
        """Return in how many seconds a cap that is in force is counted anew."""
        now = self._clock()
        day, month = _begins(now)
        tomorrow = day + timedelta(days=1)
        next_month = (month + timedelta(days=32)).replace(day=1)
        until = tomorrow if key.rule.usd_per_month is None or self._month_leaves(key) else next_month
        return max(1, round(until.timestamp() - now))

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            late = self._late.pop() if self._late else None
        if late is not None:
            self._write(late[0], *late[1])
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _month_leaves(self, key: ApiKey) -> bool:
        """Say whether tomorrow brings more, because the day's cap is what binds."""
        day, month = self.spent(key.id)
        rule = key.rule
        return rule.usd_per_day is not None and rule.usd_per_day - day < (rule.usd_per_month or 0.0) - month

    def _spent(self, connection: sqlite3.Connection, key_id: str) -> tuple[float, float]:
        day, month = (begin.timestamp() for begin in _begins(self._clock()))
        row = connection.execute(
            "SELECT TOTAL(CASE WHEN at >= ? THEN usd END), TOTAL(usd) FROM spending WHERE key_id = ? AND at >= ?",
            (day, key_id, month),
        ).fetchone()
        return float(row[0]), float(row[1])

    def _write(self, statement: str, *values: object) -> None:
        """Change the ledger, later when that can't be now: the edit is done, and its result must not be lost for it."""
        with self._lock:
            self._late.append((statement, values))
        try:
            with self._caught_up():
                pass
        except StateError as error:
            logger.error("what providers took is counted later: %s", error)

    @contextmanager
    def _caught_up(self) -> Iterator[sqlite3.Connection]:
        """Hold a transaction that makes up for what couldn't be written before."""
        with self._locked() as connection:
            with transaction(connection):
                for statement, values in self._late:
                    connection.execute(statement, values)
                yield connection
            self._late.clear()

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._folder is None:
                raise OptionError("this node has no folder for its state", hint="name one with --state")
            file = self._folder / FILE
            if self._connection is None:
                self._connection = connected(file, KEYS)
            with told(KEYS, file):
                yield self._connection


def _begins(now: float) -> tuple[datetime, datetime]:
    """Return when the present day and month began, in UTC."""
    day = datetime.fromtimestamp(now, timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return day, day.replace(day=1)


def _left(key: ApiKey, day: float, month: float) -> float:
    caps = ((key.rule.usd_per_day, day), (key.rule.usd_per_month, month))
    return max(0.0, min((cap - spent for cap, spent in caps if cap is not None), default=float("inf")))
