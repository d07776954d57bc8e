"""The first start of a node that others will reach makes a key, and shows it once."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest
import urllib3

from edge_runtime.errors import StateError
from server.first_key import FILE, make_first_key
from server.key_store import KeyStore
from tests.server.started import ROOT, command, started_server

HTTP = urllib3.PoolManager(retries=False, timeout=30)
KEY = re.compile(r"ne_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}")


def test_a_service_finds_its_first_key_in_a_file_and_not_in_the_journal(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for turn in range(2):
        with started_server("--behind-proxy", "--state", str(state)) as server:
            key = (state / FILE).read_text().strip()
            assert KEY.fullmatch(key) and (state / FILE).stat().st_mode & 0o777 == 0o600
            assert HTTP.request("GET", f"{server.url}/v1/models").status == 401
            assert HTTP.request("GET", f"{server.url}/v1/models", headers={"X-Key": key}).status == 200
            said = server.log.read_text()
            assert key not in said and said.count("first-key") == (0 if turn else 1), "once"
    assert key.encode() not in b"".join(path.read_bytes() for path in state.glob("keys.sqlite3*")), "kept as a digest"
    assert len(KeyStore(state).all()) == 1


def test_a_terminal_shows_it_once(tmp_path: Path) -> None:
    shown = []
    for _ in range(2):
        ours, theirs = pty.openpty()
        given = command("--port", "0", "--behind-proxy", "--state", str(tmp_path / "state"))
        process = subprocess.Popen(given, stderr=theirs, stdout=subprocess.DEVNULL, cwd=ROOT)
        os.close(theirs)
        text, end = "", time.monotonic() + 30
        while "serves on" not in text:
            assert time.monotonic() < end
            text += os.read(ours, 1000).decode()
        process.terminate()
        process.wait(20)
        os.close(ours)
        shown.append(text)
    first, second = shown
    assert len(KEY.findall(first)) == 1 and "shown this once" in first and not KEY.findall(second)
    assert not (tmp_path / "state" / FILE).exists()


def test_on_loopback_nothing_is_made(tmp_path: Path) -> None:
    with started_server("--state", str(tmp_path / "state")) as server:
        assert HTTP.request("GET", f"{server.url}/v1/models").status == 200
    assert not KeyStore(tmp_path / "state").in_use


def test_a_key_that_can_not_be_shown_is_revoked(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    keys = KeyStore(tmp_path)
    with Path(os.devnull).open("w") as nowhere, pytest.raises(StateError, match="nanoedge keys create"):
        make_first_key(keys, tmp_path, nowhere)
    assert [key.revoked is None for key in keys.all()] == [False]
