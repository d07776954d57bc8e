"""The container's description, as far as it can be tried without a container."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.started import Started, started_server

DOCKERFILE = (Path(__file__).parents[2] / "packaging" / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def running() -> Iterator[Started]:
    """Started with the options of the image, but for the address."""
    (options,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    verb, *given = json.loads(options)
    assert verb == "serve" and "--insecure-public" in given
    with started_server("--insecure-public") as server:
        yield server


@pytest.mark.skipif(shutil.which("bash") is None, reason="the check is bash's")
def test_the_health_check_tells_a_running_server_from_none(running: Started) -> None:
    (check,) = re.findall(r"CMD (\[\"bash\".*\])$", DOCKERFILE, re.MULTILINE)
    command = [word.replace("8080", str(running.port)) for word in json.loads(check)]
    assert subprocess.run(command, timeout=20, capture_output=True).returncode == 0
    closed = [word.replace(str(running.port), "1") for word in command]
    assert subprocess.run(closed, timeout=20, capture_output=True).returncode != 0


def test_it_runs_as_nobody_in_particular() -> None:
    user = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert user and all(int(number) > 0 for number in user[0])
    assert DOCKERFILE.index("\nUSER ") < DOCKERFILE.index("\nENTRYPOINT ")
