"""Server and children killed with -9 together, or one during what the other's death sets off: the job ends once."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.server.jobs.killing import OPEN, Node, admit, ended, picture, state
from tests.server.started import Started
from tests.server.test_server_workers import children, large_photo, left_in

pytestmark = pytest.mark.slow

Killing = Callable[[Started, dict[str, psutil.Process]], None]


def all_at_once(server: Started, found: dict[str, psutil.Process]) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)  # or it could begin another child in between
    for pid in (*(child.pid for child in found.values()), server.process.pid):
        os.kill(pid, signal.SIGKILL)


def server_while_it_replaces_the_child(server: Started, found: dict[str, psutil.Process]) -> None:
    os.kill(found["editor"].pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while (new := children(server).get("editor")) is None or new.pid == found["editor"].pid:
        assert time.monotonic() < end
        time.sleep(0.002)
    found["new editor"] = new
    os.kill(server.process.pid, signal.SIGKILL)


def count_ends(node: Node) -> None:
    """Have the database itself write down every end of a job."""
    with closing(sqlite3.connect(node.state / "jobs.sqlite", timeout=10)) as connection, connection:
        connection.execute("CREATE TABLE ends (job TEXT, state TEXT)")
        connection.execute(
            "CREATE TRIGGER an_end AFTER UPDATE OF state ON jobs WHEN new.state IN ('Ready', 'Error', 'Cancelled') "
            "BEGIN INSERT INTO ends VALUES (new.id, new.state); END"
        )


def ends(node: Node, job: str) -> list[str]:
    with closing(sqlite3.connect(node.state / "jobs.sqlite", timeout=10)) as connection:
        return [found for (found,) in connection.execute("SELECT state FROM ends WHERE job = ?", (job,))]


@pytest.mark.parametrize("killing", [all_at_once, server_while_it_replaces_the_child])
def test_a_job_ends_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killing: Killing) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    node, photo = Node(tmp_path / "state"), large_photo()
    with node.running() as server:
        timed = admit(server, photo)
        rendering = ended(server, timed)["result"]["seconds"]["render"]
        count_ends(node)
        for again in range(5):
            # Another deadline: the same body would be the same job.
            job = admit(server, photo, deadline_ms=f"{3_000_000 + again}")
            node.wait(job, lambda row: row["state"] == "Processing")
            time.sleep(rendering / 3)
            if node.row(job)["state"] in OPEN:
                break
            ended(server, job)  # it was quicker than before
        found = children(server)
        killing(server, found)
        server.process.wait(10)
        _, alive = psutil.wait_procs(found.values(), timeout=10)
        assert not alive
    assert node.row(job)["state"] == "Processing" and ends(node, job) == []
    with node.running() as server:
        assert ended(server, job)["status"] == "Ready" and node.row(job)["attempts"] == 2
        assert picture(server, job) == picture(server, timed) and state(server, timed)["status"] == "Ready"
        assert ends(node, job) == ["Ready"] and node.row(job)["roles"] == ["outcome", "result"]
    assert not left_in(tmp_path / "tmp") and node.files() <= {"jobs.sqlite", "master.key"}
