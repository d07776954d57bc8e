"""Where votes are kept: SQLite, every vote on the disk before the page hears of it.

A ballot is one question put to one voter: a scene and two models, one left and one right. Who was asked what is kept
too, so that a page that was open when the program ended can still answer, and a ballot's random name is all that the
browser ever gets to see of it.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import InputError, StateError

_APPLICATION: Final = 0x6E766F74  # "nvot": tells this file from any other SQLite database
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {_APPLICATION};
CREATE TABLE IF NOT EXISTS pictures (
    scene TEXT NOT NULL, model TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (scene, model)
);
CREATE TABLE IF NOT EXISTS ballots (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, voter TEXT NOT NULL, scene TEXT NOT NULL,
    left_model TEXT NOT NULL, right_model TEXT NOT NULL, issued REAL NOT NULL,
    choice TEXT CHECK (choice IN ('left', 'right', 'equal')), voted REAL
);
CREATE UNIQUE INDEX IF NOT EXISTS asked_once
    ON ballots (voter, scene, min(left_model, right_model), max(left_model, right_model));
COMMIT;
"""
_COLUMNS: Final = "name, voter, scene, left_model, right_model, choice"


class Choice(Enum):
    """What a voter said."""

    LEFT = "left"
    RIGHT = "right"
    EQUAL = "equal"


@dataclass(frozen=True, slots=True)
class Ballot:
    """One question to one voter, and the answer once there is one."""

    name: str
    voter: str
    scene: str
    left: str
    right: str
    choice: Choice | None

    @property
    def pair(self) -> tuple[str, str]:
        """Return both models in alphabetical order."""
        first, second = sorted((self.left, self.right))
        return first, second


class VoteStore:
    """The ballots of one report. Safe to share between threads, and between processes."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        """Open or make the database; raises StateError when that can't be, or it is another program's."""
        self._file, self._clock, self._lock = file, clock, threading.Lock()
        self._connection = _connected(file)

    def remember(self, pictures: Iterable[tuple[str, str, str]]) -> None:
        """Note scene, model and digest of the report's pictures; raises InputError if votes were cast on others."""
        known = {(scene, model): digest for scene, model, digest in self._rows("SELECT * FROM pictures")}
        given = {(scene, model): digest for scene, model, digest in pictures}
        changed = [key for key in given if known.get(key, given[key]) != given[key]]
        if changed:
            raise InputError(
                f"these votes were cast on other pictures: {len(changed)} of the report have changed since",
                got=f"{' by '.join(changed[0])}, for example; votes in {self._file}",
                hint="name another file with --out",
            )
        rows = [(*key, digest) for key, digest in given.items()]
        with self._errors(), self._lock, self._connection:  # which commits, or takes all back
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR IGNORE INTO pictures VALUES (?, ?, ?)", rows)

    def ballots(self) -> list[Ballot]:
        """Return all ballots in the order in which they were issued."""
        return [_ballot(row) for row in self._rows(f"SELECT {_COLUMNS} FROM ballots ORDER BY number")]

    def ballot(self, name: str) -> Ballot | None:
        """Return a ballot by its name."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM ballots WHERE name = ?", name)
        return _ballot(rows[0]) if rows else None

    def issue(self, voter: str, scene: str, left: str, right: str) -> Ballot:
        """Make a ballot for a voter, who must not have had this scene and pair before."""
        name = secrets.token_urlsafe(18)
        self._rows(
            "INSERT INTO ballots (name, voter, scene, left_model, right_model, issued) VALUES (?, ?, ?, ?, ?, ?)",
            name, voter, scene, left, right, self._clock(),
        )
        return Ballot(name, voter, scene, left, right, None)

    def vote(self, name: str, choice: Choice) -> bool:
        """Keep an answer for good before returning; false when the ballot has another answer already."""
        self._rows(
            "UPDATE ballots SET choice = ?, voted = ? WHERE name = ? AND choice IS NULL",
            choice.value, self._clock(), name,
        )
        ballot = self.ballot(name)
        return ballot is not None and ballot.choice is choice

    def undo(self, voter: str) -> Ballot | None:
        """Take back a voter's latest answer and return its ballot; None when there is none."""
        rows = self._rows(
            "SELECT name FROM ballots WHERE voter = ? AND choice IS NOT NULL ORDER BY voted DESC, number DESC LIMIT 1",
            voter,
        )
        if not rows:
            return None
        name = str(rows[0][0])
        # A question that is open goes back into the pool: the one that was taken back is asked again first.
        self._rows("DELETE FROM ballots WHERE voter = ? AND choice IS NULL", voter)
        self._rows("UPDATE ballots SET choice = NULL, voted = NULL, issued = ? WHERE name = ?", self._clock(), name)
        return self.ballot(name)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._errors(), self._lock:
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StateError("the votes can't be read or written", got=f"{self._file}: {error}") from error


def _connected(file: Path) -> sqlite3.Connection:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file, timeout=5, isolation_level=None, check_same_thread=False)
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables and application != _APPLICATION:
            raise StateError(
                "this database holds something else than votes", got=file, hint="name another file with --out"
            )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_SCHEMA)
    except (OSError, sqlite3.Error) as error:
        raise StateError(
            "the file of votes can't be used", got=f"{file}: {error}", hint="name another file with --out"
        ) from error
    return connection


def _ballot(row: tuple[Any, ...]) -> Ballot:
    name, voter, scene, left, right, choice = row
    return Ballot(name, voter, scene, left, right, None if choice is None else Choice(choice))
