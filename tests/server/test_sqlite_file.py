"""The node's SQLite files: versions, steps from one to the next, and connections that survive what goes wrong."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from edge_runtime.errors import StateError
from server import key_store
from server.jobs import database
from server.key_store import KEYS, KeyStore
from server.keys import Rule
from server.spending import Spending
from server.sqlite_file import Contents, connected, statements, transaction
from tests.server.started import ROOT, command

ONE = Contents(what="things", steps=(statements("CREATE TABLE things (name TEXT); CREATE INDEX by ON things (name)"),))
TWO = Contents(what="things", steps=(*ONE.steps, statements("ALTER TABLE things ADD COLUMN size INTEGER DEFAULT 7")))


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_file_is_brought_to_the_present_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "things"
    with closing(connected(path, ONE)) as first:
        first.execute("INSERT INTO things VALUES ('one')")
    assert version(path) == 1 and path.stat().st_mode & 0o077 == 0
    for _ in range(2):  # the second time there is nothing to do
        with closing(connected(path, TWO)) as second:
            assert second.execute("SELECT name, size FROM things").fetchall() == [("one", 7)]
    assert version(path) == 2


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "things"
    connected(path, ONE).close()
    broken = Contents(what="things", steps=(*ONE.steps, statements("DROP TABLE things; CREATE nonsense")))
    with pytest.raises(StateError, match="things can't be kept.*syntax error.*--state"):
        connected(path, broken)
    assert version(path) == 1
    with closing(connected(path, ONE)) as again:
        assert again.execute("SELECT * FROM things").fetchall() == []


@pytest.mark.parametrize(("file", "make"), [
    (key_store.FILE, lambda state: KeyStore(state).create("anna", Rule())),
    (database.FILE, lambda state: database.Database(state / database.FILE).close()),
])  # fmt: skip
def test_a_server_refuses_files_of_a_newer_one_in_one_line(
    tmp_path: Path, file: str, make: Callable[[Path], object]
) -> None:
    make(tmp_path)
    with closing(sqlite3.connect(tmp_path / file)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / file).read_bytes()
    arguments = command("--port", "0", "--state", str(tmp_path))
    ended = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert ended.returncode == 12 and ended.stderr.count("\n") == 1, ended.stderr
    for words in ("were kept by a newer nanoedge", f"{file} of version 99", "Allowed: version ", "--state"):
        assert words in ended.stderr
    assert (tmp_path / file).read_bytes() == before


def test_keys_and_spending_of_before_the_first_version(tmp_path: Path) -> None:
    """The ledger knew no jobs then."""
    with closing(KeyStore(tmp_path)) as store:
        key, text = store.create("anna", Rule(usd_per_day=1.0))
    with closing(sqlite3.connect(tmp_path / key_store.FILE)) as connection, connection:
        connection.execute("DROP TABLE spending")
        connection.execute(
            "CREATE TABLE spending (id INTEGER PRIMARY KEY, key_id TEXT NOT NULL, at REAL NOT NULL, usd REAL NOT NULL)"
        )
        connection.execute("INSERT INTO spending (key_id, at, usd) VALUES (?, strftime('%s', 'now'), 0.5)", (key.id,))
        connection.execute("PRAGMA user_version = 0")
    with closing(KeyStore(tmp_path)) as store, closing(Spending(tmp_path)) as spending:
        assert store.check(text).id == key.id and spending.spent(key.id)[0] == 0.5
        for _ in range(2):
            spending.add(key.id, 0.1, "job")
        assert spending.spent(key.id)[0] == pytest.approx(0.6), "a job counts once"
    assert version(tmp_path / key_store.FILE) == KEYS.version


def test_a_connection_can_be_used_after_a_commit_that_failed(tmp_path: Path) -> None:
    contents = Contents(what="things", steps=(
        statements("CREATE TABLE a (id INTEGER PRIMARY KEY);"
                   "CREATE TABLE b (a INTEGER REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)"),
    ), pragmas=("foreign_keys = ON",))  # fmt: skip
    with closing(connected(tmp_path / "things", contents)) as connection:
        with pytest.raises(sqlite3.IntegrityError), transaction(connection):
            connection.execute("INSERT INTO b VALUES (1)")  # is found out at the commit
        with transaction(connection):
            connection.execute("INSERT INTO a VALUES (1)")
        assert connection.execute("SELECT count(*) FROM a").fetchone() == (1,)


@pytest.mark.parametrize("seconds", [0.2, None])
def test_two_that_make_a_file_at_once_wait_for_each_other(tmp_path: Path, seconds: float | None) -> None:
    path = tmp_path / "things"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")  # as one does that writes the new file's journal mode
        if seconds is None:
            with pytest.raises(StateError, match="things can't be kept.*locked"):
                connected(path, replace(ONE, wait_seconds=0.1))
            return
        freed = threading.Timer(seconds, other.execute, ("COMMIT",))
        freed.start()
        with closing(connected(path, ONE)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        freed.join()
