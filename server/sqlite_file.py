"""The SQLite files of a node: for their owner alone, with a version, and brought to the present one step by step."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_runtime.errors import StateError
from server.room import kept_error

_HINT: Final = "is the state folder read-only, or another user's? Name another one with --state"
_PAUSE_SECONDS: Final = 0.01
Step = Callable[[sqlite3.Connection], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a file keeps, in words. Step n of `steps` brings a file of version n, 0 for a new one, to version n + 1.

    `pragmas` are set for every connection.
    """

    what: str
    steps: tuple[Step, ...]
    pragmas: tuple[str, ...] = ()
    wait_seconds: float = 5.0

    @property
    def version(self) -> int:
        """Return the version that this nanoedge writes."""
        return len(self.steps)


class _Connection(sqlite3.Connection):
    """Closed when its last holder goes, who needn't say so: stores live as long as the node."""

    def __del__(self) -> None:
        self.close()


def statements(text: str) -> Step:
    """Return the step that carries out statements, which a semicolon ends."""

    def step(connection: sqlite3.Connection) -> None:
        for statement in text.split(";"):
            connection.execute(statement)

    return step


def connected(path: Path, contents: Contents) -> sqlite3.Connection:
    """Return a connection to a file of the present version, made or migrated if need be, for its owner alone.

    It may be shared between threads behind a lock; transactions are the caller's (`transaction`). Raises StateError,
    also for a file of a newer version, which is left as it is.
    """
    with told(contents, path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite's other files take its mode
        connection = sqlite3.connect(
            path, timeout=contents.wait_seconds, isolation_level=None, check_same_thread=False, factory=_Connection
        )
    try:
        with told(contents, path):
            _refuse_newer(path, contents, _version(connection))
            _log_ahead(connection, contents.wait_seconds)
            for pragma in ("synchronous = FULL", *contents.pragmas):
                connection.execute(f"PRAGMA {pragma}")
            if _version(connection) < contents.version:
                _migrate(connection, contents)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Do all or nothing; whatever goes wrong, the connection can be used again."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # on a full disk SQLite may have taken it back itself
            connection.execute("ROLLBACK")
        raise


@contextmanager
def told(contents: Contents, path: Path) -> Iterator[None]:
    """Raise what SQLite and the file system say as StateError, FullError where there is no room."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise kept_error(f"the {contents.what} can't be kept", path, error, _HINT) from error


def _log_ahead(connection: sqlite3.Connection, wait_seconds: float) -> None:
    """Set a new file's journal. SQLite itself does not wait here: two that want to would wait for each other."""
    until = time.monotonic() + wait_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(_PAUSE_SECONDS)


def _migrate(connection: sqlite3.Connection, contents: Contents) -> None:
    with transaction(connection):
        for step in contents.steps[_version(connection):]:  # another process may have been quicker
            step(connection)
        connection.execute(f"PRAGMA user_version = {contents.version}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _refuse_newer(path: Path, contents: Contents, version: int) -> None:
    if version > contents.version:
        raise StateError(
            f"the {contents.what} were kept by a newer nanoedge", got=f"{path.name} of version {version}",
            allowed=f"version {contents.version}", hint="use the newer nanoedge, or another folder with --state",
        )
