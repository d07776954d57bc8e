"""A server that is killed: started on a state folder, watched from outside through its database, ended by signal 9."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from tests.server.started import Started, started_server

HTTP = urllib3.PoolManager(retries=False, timeout=30)
OPEN = ("Pending", "Processing")


@dataclass(frozen=True)
class Node:
    """A state folder, what the server is started with, and a folder for its temporary files."""

    state: Path
    arguments: tuple[str, ...] = ()

    @contextmanager
    def running(self) -> Iterator[Started]:
        with started_server("--state", str(self.state), *self.arguments) as server:
            yield server

    def row(self, job: str) -> dict[str, Any]:
        """The job's row, and the roles of its parts, as another process sees them."""
        with closing(sqlite3.connect(f"file:{self.state}/jobs.sqlite?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
            roles = [role for (role,) in connection.execute("SELECT role FROM parts WHERE job = ?", (job,))]
        return {**dict(row), "roles": roles}

    def wait(self, job: str, there: Callable[[dict[str, Any]], bool], seconds: float = 30.0) -> dict[str, Any]:
        """Watch the row until it is `there`."""
        end = time.monotonic() + seconds
        while not there(row := self.row(job)):
            assert time.monotonic() < end, f"never came there: {row}"
            time.sleep(0.002)
        return row

    def files(self) -> set[str]:
        return {str(path.relative_to(self.state)) for path in self.state.rglob("*") if path.is_file()}


def admit(server: Started, photo: bytes, **fields: str) -> str:
    """Have a job kept; returns its name."""
    answer = HTTP.request(
        "POST", f"{server.url}/v1/edits/jobs",
        fields={"image": ("p.jpg", photo), "instructions": "warmer", **fields},
    )
    assert answer.status == 202, answer.data
    name: str = answer.json()["id"]
    return name


def state(server: Started, job: str) -> dict[str, Any]:
    answer = HTTP.request("GET", f"{server.url}/v1/edits/jobs/{job}")
    assert answer.status == 200, answer.data
    return dict(json.loads(answer.data))


def ended(server: Started, job: str, seconds: float = 180.0) -> dict[str, Any]:
    """Poll until the job has ended."""
    end = time.monotonic() + seconds
    while (told := state(server, job))["status"] in OPEN:
        assert time.monotonic() < end, told
        time.sleep(0.1)
    return told


def picture(server: Started, job: str) -> bytes:
    answer = HTTP.request("GET", f"{server.url}/v1/edits/jobs/{job}/result")
    assert answer.status == 200, answer.data
    return answer.data


def kill(server: Started) -> None:
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(10)
