"""A server as users start it: a process of its own on a free loopback port, ended by its id."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.program import program

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Started:
    """A running server: `http://127.0.0.1:<port>`, its process, its stderr, and the seconds until it said so."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    seconds: float
    log: Path


def command(*arguments: str) -> list[str]:
    """The command line of `nanoedge serve`, without relying on scripts on the PATH."""
    return [*program(), "serve", *arguments]


@contextmanager
def started_server(*arguments: str) -> Iterator[Started]:
    """Start, wait for the line that says where it listens, and end it."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stderr"
        began = time.monotonic()
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                command("--port", "0", "--state", str(Path(folder) / "state"), *arguments), stderr=stderr, cwd=ROOT
            )
        try:
            port = _port(process, log, began + 30)
            yield Started(
                url=f"http://127.0.0.1:{port}", port=port, process=process, seconds=time.monotonic() - began, log=log,
            )
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port(process: subprocess.Popen[bytes], log: Path, deadline: float) -> int:
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"serves on http://127\.0\.0\.1:(\d+)", log.read_text()):
            return int(found[1])
        time.sleep(0.02)
    raise AssertionError(f"the server did not start: {log.read_text()}")
