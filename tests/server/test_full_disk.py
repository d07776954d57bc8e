"""A full disk, a real one: what can't be kept is refused in clear words, what was begun waits, nothing is lost."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3
from PIL import Image

from edge_runtime.errors import FullError
from server.key_store import FILE, KeyStore
from server.keys import Rule
from server.spending import Spending
from tests.server.jobs.killing import HTTP, admit, ended, picture, state
from tests.server.jobs.upstream import WISH, Upstream, beside, was_asked
from tests.server.started import Started, started_server
from tests.small_disk import Disk, small_disk

pytestmark = pytest.mark.slow

MEBIBYTES = 64
"""More than the reserve."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", MEBIBYTES) as mounted:
        yield mounted


@pytest.fixture(scope="module")
def noise() -> bytes:
    """A photo whose PNG is megabytes."""
    stream = BytesIO()
    pixels = np.random.default_rng(2).integers(0, 256, (900, 900, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=60)
    return stream.getvalue()


def asks(server: Started, path: str, photo: bytes, **fields: str) -> urllib3.BaseHTTPResponse:
    words = "prompt" if path == "/v1/images/edits" else "instructions"
    return HTTP.request("POST", f"{server.url}{path}", fields={"image": ("p.jpg", photo), words: "warmer", **fields})


def refused(answer: urllib3.BaseHTTPResponse, *words: str) -> None:
    assert answer.status == 507 and answer.headers["Content-Type"] == "application/problem+json", answer.data
    told = answer.json()
    assert told["error"]["code"] == "storage_full" and "X-Should-Retry" in answer.headers
    for word in ("no room left", "operator must free some space", *words):
        assert word in told["detail"], told


def test_what_can_not_be_kept_is_refused_and_what_was_begun_waits_for_room(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk, noise: bytes
) -> None:
    upstream = Upstream()
    node, origin = beside(stack, tmp_path, monkeypatch, upstream.answer)
    node = replace(node, state=disk.path / "state")
    with node.running() as server:
        kept = asks(server, "/edit", noise, store="true").json()["address"]
        early = admit(server, noise)
        assert ended(server, early)["status"] == "Ready"
        paid = admit(server, noise, instructions=WISH, fallback="only", output_format="png")
        was_asked(origin, "get_result")
        disk.fill()

        refused(asks(server, "/v1/edits/jobs", noise))
        refused(asks(server, "/edit", noise, store="true"))
        refused(asks(server, "/v1/images/edits", noise, response_format="url"))
        assert asks(server, "/edit", noise).status == 200, "what isn't kept needs no room"
        assert state(server, early)["status"] == "Ready" and picture(server, early)[:2] == b"\xff\xd8"
        assert HTTP.request("GET", f"{server.url}/healthz").status == 200
        upstream.pending = False
        was_asked(origin, "/delivery/")
        end = time.monotonic() + 15
        while "waits for room" not in server.log.read_text():
            assert time.monotonic() < end, server.log.read_text()
            time.sleep(0.1)
        assert state(server, paid)["status"] == "Processing"

        disk.free()
        told = ended(server, paid, 20)
        assert told["status"] == "Ready" and told["result"]["cost_usd"] == 0.04 and len(origin.submissions) == 1
        with Image.open(BytesIO(picture(server, paid))) as made:
            assert made.size == (900, 900)
        again = {"parent": kept, "instructions": "cooler"}
        answer = HTTP.request("POST", f"{server.url}/edit", json=again)
        assert answer.status == 200 and answer.json()["address"]
        assert ended(server, admit(server, noise, instructions="brighter"))["status"] == "Ready"
        assert server.log.read_text().count("waits for room") == 1
    names = {path.name for path in (disk.path / "state").rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith(".part")] and len(names) == 4, names


def test_a_result_that_finds_no_room_is_answered_all_the_same(tmp_path: Path, disk: Disk, noise: bytes) -> None:
    """The disk fills while an edit is made: nobody could refuse it before."""
    with started_server("--state", str(disk.path / "state"), "--store", str(disk.path / "store")) as server:
        first = asks(server, "/edit", noise, store="true").json()
        keep_free(disk, 36 * 1024**2)
        answer = asks(server, "/edit", noise, store="true", output_format="png")
        assert answer.status == 200 and answer.json()["address"], "there is room for one"
        large = BytesIO()
        Image.fromarray(np.random.default_rng(3).integers(0, 256, (3600, 3600, 3), np.uint8)).save(large, "JPEG")
        told = asks(server, "/edit", large.getvalue(), store="true", output_format="png").json()
        assert "address" not in told and "there is no room left" in told["warnings"][-1], told["warnings"]
        with Image.open(BytesIO(base64.b64decode(told["image_base64"]))) as made:
            assert made.size == (3600, 3600)
        parent = {"parent": first["address"], "instructions": "cooler"}
        assert HTTP.request("POST", f"{server.url}/edit", json=parent).json()["address"], "what was kept is whole"
        assert not list((disk.path / "store").rglob("*.part"))


def keep_free(disk: Disk, free_bytes: int) -> None:
    disk.fill()
    with (disk.path / "ballast").open("r+b") as file:
        file.truncate(file.seek(0, 2) - free_bytes)


def test_a_body_that_finds_no_room_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk, noise: bytes
) -> None:
    monkeypatch.setenv("TMPDIR", str(disk.path))
    with started_server() as server:
        large = noise + b"\0" * 3_000_000
        assert asks(server, "/edit", large).status == 200
        disk.fill()  # only now: Python looks once which folder can be used
        for path in ("/edit", "/v1/images/edits"):
            refused_body = asks(server, path, large)
            assert refused_body.status == 507 and b"no room left" in refused_body.data, refused_body.data
        with urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1) as kept_open:
            for _ in range(3):
                fields = {"image": ("p.jpg", noise), "instructions": "warmer", "output_format": "png"}
                answer = kept_open.request("POST", "/edit", fields=fields, retries=False)
                assert answer.status == 200 and len(answer.data) > 3e6, "small bodies, and answers, fit into memory"
        disk.free()
        assert asks(server, "/edit", large).status == 200


def test_keys_and_spending(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    state = disk.path / "state"
    with closing(KeyStore(state)) as store, closing(Spending(state)) as spending:
        key, text = store.create("first", Rule(usd_per_day=1.0))
        hold, held = spending.hold(key, 0.5)
        assert held == 0.5
        disk.fill()
        fill_the_log(spending)
        with pytest.raises(FullError, match="API keys can't be kept: there is no room left.*operator must free"):
            for _ in range(100):
                store.create("second", Rule(providers=frozenset(["x" * 4000])))
        with pytest.raises(FullError):
            spending.hold(key, 0.1, "y" * 100_000)
        spending.settle(hold, 0.04)
        spending.add(key.id, 0.02, "job" + "z" * 100_000)
        assert "counted later" in caplog.text
        assert store.check(text).id == key.id, "keys are read all the same"
        disk.free()
        assert spending.hold(key, 0.1)[1] == 0.1
        assert spending.spent(key.id)[0] == pytest.approx(0.16)
        assert {one.name for one in store.all()} <= {"first", "second"}
        store.create("third", Rule())
    assert json.loads(json.dumps([path.name for path in state.iterdir()])) and (state / FILE).exists()


def fill_the_log(spending: Spending) -> None:
    """Use up the room that SQLite's log has already."""
    for number in range(40):
        spending.add("somebody", 0.0, f"{number}" + "w" * 4000)
    assert spending._late, "it waits in memory"  # noqa: SLF001


def test_a_first_start_on_a_full_disk_says_so(disk: Disk) -> None:
    disk.fill()
    with closing(KeyStore(disk.path / "state")) as store, pytest.raises(FullError, match="no room left"):
        store.create("first", Rule())
    leftovers: list[Any] = [path for path in disk.path.rglob("*") if path.is_file() and path.stat().st_size]
    assert [path.name for path in leftovers] == ["ballast"]
