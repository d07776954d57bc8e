"""Where API keys are kept: SQLite in the node's folder for state, each key as its identifier and an HMAC of the whole.

The HMAC's pepper lies beside it in a file that only the node's user may read. Whoever has the database alone can
neither use a key nor check a guess. Keys that a command makes, rotates or revokes count from the next request on.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_runtime.errors import AccessError, OptionError, StateError
from server.keys import ApiKey, Rule, id_of, new_id, new_key
from server.room import kept_error
from server.sqlite_file import Contents, connected, statements, told

FILE: Final = "keys.sqlite3"
PEPPER: Final = "pepper"
_PEPPER_BYTES: Final = 32
_FIRST: Final = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, rule TEXT NOT NULL, digest BLOB NOT NULL, created REAL NOT NULL,
    expires REAL, revoked REAL, previous BLOB, overlap_until REAL
);
CREATE TABLE IF NOT EXISTS spending (
    id INTEGER PRIMARY KEY, key_id TEXT NOT NULL, at REAL NOT NULL, usd REAL NOT NULL, job TEXT UNIQUE
);
CREATE INDEX IF NOT EXISTS spending_by_key ON spending (key_id, at)
"""
_COLUMNS: Final = "id, name, rule, created, expires, revoked, overlap_until"


def _first(connection: sqlite3.Connection) -> None:
    """Make the tables. Files of before the first version have them: the oldest of those don't know jobs yet."""
    statements(_FIRST)(connection)
    if "job" not in [column[1] for column in connection.execute("PRAGMA table_info(spending)")]:
        connection.execute("ALTER TABLE spending ADD COLUMN job TEXT")
        connection.execute("CREATE UNIQUE INDEX spending_by_job ON spending (job)")


KEYS: Final = Contents(what="API keys", steps=(_first,))


class KeyStore:
    """The keys of one node. Safe to share between threads, and between processes."""

    def __init__(self, folder: Path | None, clock: Callable[[], float] = time.time) -> None:
        """Open nothing yet. A node without a folder for its state has no keys."""
        self._given, self._clock, self._lock = folder, clock, threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pepper_read: bytes | None = None
        self._in_use = False

    @property
    def in_use(self) -> bool:
        """Say whether a key was ever made. It stays so when all are revoked, or lost: that must not open the node."""
        if not self._in_use and self._given is not None:
            kept = (self._given / FILE).exists() and bool(self._rows("SELECT 1 FROM keys LIMIT 1"))
            self._in_use = kept or (self._given / PEPPER).exists()
        return self._in_use

    def create(self, name: str, rule: Rule, seconds: float | None = None) -> tuple[ApiKey, str]:
        """Make a key that holds for so many seconds (None: for good); returns it and its whole text, once."""
        now, key_id = self._clock(), new_id()
        text = new_key(key_id)
        key = ApiKey(id=key_id, name=name, rule=rule, created=now, expires=None if seconds is None else now + seconds)
        self._rows(
            "INSERT INTO keys (id, name, rule, digest, created, expires) VALUES (?, ?, ?, ?, ?, ?)",
            key.id, name, json.dumps(rule.to_json()), self._digest(text, make=True), now, key.expires,
        )
        return key, text

    def all(self) -> list[ApiKey]:
        """Return all keys, the oldest first."""
        if not self.in_use:
            return []
        return [_key(row) for row in self._rows(f"SELECT {_COLUMNS} FROM keys ORDER BY created, id")]

    def get(self, key_id: str) -> ApiKey | None:
        """Return a key by its identifier."""
        if not self.in_use:
            return None
        rows = self._rows(f"SELECT {_COLUMNS} FROM keys WHERE id = ?", key_id)
        return _key(rows[0]) if rows else None

    def still(self, key_id: str) -> ApiKey:
        """Return a key that must hold, of a job that was admitted a while ago; raises AccessError."""
        key = self.get(key_id)
        state = "unknown" if key is None else key.state(self._clock())
        if key is None or state != "active":
            raise AccessError("the API key that asked for this edit doesn't hold any more", got=state)
        return key

    def revoke(self, key_id: str) -> None:
        """End a key at once; raises OptionError when there is no such key."""
        self._known(key_id)
        self._rows("UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", self._clock(), key_id)

    def rotate(self, key_id: str, overlap_seconds: float) -> str:
        """Give a key a new secret and return its whole text, once; the previous one holds on for the overlap.

        Raises OptionError when there is no such key, or it doesn't hold any more.
        """
        now = self._clock()
        if (state := self._known(key_id).state(now)) != "active":
            raise OptionError("this key no longer holds", got=f"{key_id}: {state}", hint="create another one")
        text = new_key(key_id)
        self._rows(
            "UPDATE keys SET previous = digest, digest = ?, overlap_until = ? WHERE id = ?",
            self._digest(text), now + overlap_seconds, key_id,
        )
        return text

    def check(self, text: str) -> ApiKey:
        """Return the key that `text` is; raises AccessError, which says no more than that it doesn't hold."""
        key_id, now = id_of(text), self._clock()
        rows = [] if key_id is None else self._rows(
            f"SELECT {_COLUMNS}, digest, previous FROM keys WHERE id = ?", key_id
        )
        if not rows:
            raise _refused("it is not known here")
        key, digests = _key(rows[0][:-2]), rows[0][-2:]
        if key.overlap_until is None or key.overlap_until <= now:
            digests = digests[:1]
        given = self._digest(text)
        if not any([hmac.compare_digest(given, one) for one in digests if isinstance(one, bytes)]):
            raise _refused("it is not known here")
        if (state := key.state(now)) != "active":
            raise _refused(f"it is {state}")
        return key

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @property
    def _folder(self) -> Path:
        if self._given is None:
            raise OptionError("this node has no folder for its state", hint="name one with --state")
        return self._given

    def _known(self, key_id: str) -> ApiKey:
        key = self.get(key_id)
        if key is None:
            raise OptionError("there is no such key", got=key_id, hint="list them with: nanoedge keys list")
        return key

    def _rows(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock:
            file = self._folder / FILE
            if self._connection is None:
                self._connection = connected(file, KEYS)
            with told(KEYS, file):
                return self._connection.execute(statement, values).fetchall()

    def _digest(self, text: str, *, make: bool = False) -> bytes:
        if self._pepper_read is None:
            self._pepper_read = self._pepper(make and not self.in_use)
        return hmac.digest(self._pepper_read, text.encode(), "sha256")

    def _pepper(self, make: bool) -> bytes:
        """Return the pepper. A lost one is not replaced in silence: it would end every key."""
        file = self._folder / PEPPER
        try:
            if make:
                written_once(file, secrets.token_bytes(_PEPPER_BYTES))
            pepper = file.read_bytes()
        except OSError as error:
            raise kept_error(
                "the pepper of the API keys can't be read or written", file, error,
                "put it back from the backup of this folder; without it no key holds",
            ) from error
        if len(pepper) != _PEPPER_BYTES:
            raise StateError(
                "the pepper of the API keys is damaged", got=f"{file}: {len(pepper)} bytes", allowed=_PEPPER_BYTES
            )
        return pepper


def written_once(file: Path, data: bytes) -> None:
    """Write a file that only its user may read, whole or not at all, unless it is there."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.") as stream:  # its mode is 0600
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
        with suppress(FileExistsError):
            os.link(stream.name, file)


def _key(row: tuple[object, ...]) -> ApiKey:
    key_id, name, rule, created, expires, revoked, overlap_until = row
    assert isinstance(rule, str)
    return ApiKey(
        id=str(key_id), name=str(name), rule=Rule.from_json(json.loads(rule)), created=_time(created) or 0.0,
        expires=_time(expires), revoked=_time(revoked), overlap_until=_time(overlap_until),
    )


def _time(value: object) -> float | None:
    return value if isinstance(value, float) else None


def _refused(why: str) -> AccessError:
    return AccessError(f"the API key doesn't hold: {why}", hint="ask the node's operator for another one")
