"""Servers killed with -9 wherever a job can be: nothing is lost, nothing is done or paid twice, no file is left."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.providers.origin import Asked, Origin, Reply, started
from tests.providers.protocols import KEY, PROTOCOLS
from tests.server.jobs.killing import OPEN, Node, admit, ended, kill, picture, state

pytestmark = pytest.mark.slow

WISH = "replace the cup with a sleeping cat"
KEPT = {"jobs.sqlite", "master.key"}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


@pytest.fixture(scope="module")
def large_photo() -> bytes:
    """12 megapixels of noise over a gradient: half a second to render, more to write as PNG."""
    rows = np.linspace(0, 200, 4000, dtype=np.uint8) + np.random.default_rng(1).integers(0, 50, (3000, 4000), np.uint8)
    stream = BytesIO()
    Image.fromarray(rows).convert("RGB").save(stream, "JPEG", quality=80)
    return stream.getvalue()


def in_the_middle_of(stage: str, seconds: dict[str, float]) -> float:
    """How long after its begin a job is in the middle of a stage, judged by one that was timed."""
    order = ("text", "decode", "render", "encode")
    return sum(seconds.get(name, 0.0) for name in order[: order.index(stage)]) + seconds[stage] / 2


@pytest.mark.parametrize("point", ["admitted", "leased", "inferring", "encoding"])
def test_a_local_job_outlives_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large_photo: bytes, point: str
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    node, fields = Node(tmp_path / "state"), {"output_format": "png"}
    with node.running() as server:
        timed = admit(server, large_photo, **fields)
        seconds = ended(server, timed)["result"]["seconds"]
        wanted = picture(server, timed)
        for again in range(5):
            # Other bodies: the same ones would be the same jobs.
            first = admit(server, large_photo, **fields, instructions="cooler", deadline_ms=f"{3_000_000 + again}")
            second = admit(server, large_photo, **fields, deadline_ms=f"{3_000_000 + again}")
            watched = second if point == "admitted" else first
            node.wait(watched, lambda row: row["state"] == ("Pending" if point == "admitted" else "Processing"))
            if point in ("inferring", "encoding"):
                time.sleep(in_the_middle_of({"inferring": "render", "encoding": "encode"}[point], seconds))
            if node.row(watched)["state"] in OPEN:
                kill(server)
                break
            seconds = ended(server, first)["result"]["seconds"]  # it was quicker than before
    assert node.row(watched)["state"] in OPEN, "killed before its end"
    with node.running() as server:
        assert state(server, timed)["status"] == "Ready" and picture(server, timed) == wanted
        for job in (first, second):
            assert ended(server, job)["status"] == "Ready"
        assert picture(server, second) == wanted, "the same edit, whenever it was done"
        if point != "admitted":
            assert node.row(first)["attempts"] == 2
        assert node.row(first)["roles"] == node.row(second)["roles"] == ["outcome", "result"], "no input is left"
    assert node.files() <= KEPT and not list((tmp_path / "tmp").iterdir())


class Upstream:
    """A provider of the kind bfl whose jobs are Pending, and whose pictures are late, as long as the test says."""

    def __init__(self) -> None:
        self.submit_seconds = self.delivery_seconds = 0.0
        self.pending = True

    def answer(self, server: Origin, asked: Asked) -> Reply:
        reply = PROTOCOLS["bfl"].answer(server, asked)
        if asked.method == "POST":
            return Reply(reply.status, reply.body, seconds=self.submit_seconds)
        if asked.path.startswith("/delivery/"):
            return Reply(reply.status, reply.body, reply.headers, seconds=self.delivery_seconds)
        if self.pending:
            return Reply(body={"status": "Pending", "result": None})
        return reply


def beside(stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Reply],
           **provider: Any) -> tuple[Node, Origin]:  # fmt: skip
    monkeypatch.setenv("CENTRAL_KEY", KEY)
    origin = stack.enter_context(started(answer))
    entry = {
        "name": "central", "kind": "bfl", "base_url": f"{origin.url}/v1", "model": "flux-kontext-pro",
        "key_env": "CENTRAL_KEY", "price_usd": 0.04, **provider,
    }
    (tmp_path / "providers.json").write_text(json.dumps({"providers": [entry]}))
    return Node(tmp_path / "state", ("--providers", str(tmp_path / "providers.json"))), origin


def was_asked(origin: Origin, path: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not any(path in one.path for one in origin.asked):
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("point", ["upstream-submitted", "upstream-polled", "upstream-ready"])
def test_a_remote_job_is_polled_again_and_never_submitted_twice(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes, point: str
) -> None:
    upstream = Upstream()
    node, origin = beside(stack, tmp_path, monkeypatch, upstream.answer)
    with node.running() as server:
        upstream.pending = point != "upstream-ready"
        upstream.delivery_seconds = 20.0
        job = admit(server, photo, instructions=WISH, fallback="only", output_format="png")
        if point == "upstream-submitted":
            node.wait(job, lambda row: "receipt" in row["roles"])
        else:
            was_asked(origin, "get_result" if point == "upstream-polled" else "/delivery/")
        kill(server)
    assert node.row(job)["provider"] == "central" and len(origin.submissions) == 1
    upstream.pending, upstream.delivery_seconds = False, 0.0
    with node.running() as server:
        told = ended(server, job)
        assert told["status"] == "Ready" and told["result"]["cost_usd"] == 0.04
        assert told["result"]["route"]["why"] == "it had the edit before the server was restarted"
        with Image.open(BytesIO(picture(server, job))) as made:
            assert made.size == (600, 400)
        assert node.row(job)["roles"] == ["outcome", "result"]
    assert len(origin.submissions) == 1 and node.files() <= KEPT


def test_a_job_killed_in_the_middle_of_its_submission_says_that_it_may_be_paid_for(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    upstream = Upstream()
    upstream.submit_seconds, upstream.pending = 20.0, False
    node, origin = beside(stack, tmp_path, monkeypatch, upstream.answer)
    with node.running() as server:
        job = admit(server, photo, instructions=WISH, fallback="allow")
        was_asked(origin, "/flux-kontext-pro")
        kill(server)
    upstream.submit_seconds = 0.0
    with node.running() as server:
        told = ended(server, job)
        assert told["status"] == "Error" and told["error"]["code"] == "provider_unsure"
        assert "may have been done and paid for" in told["error"]["message"]
        again = admit(server, photo, instructions=WISH, fallback="allow")
        assert again != job and ended(server, again)["status"] == "Ready", "the user decides"
    assert len(origin.submissions) == 2


def test_a_central_that_knows_repetitions_is_asked_again_under_the_same_key(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    late = [True]

    def answer(server: Origin, asked: Asked) -> Reply:
        reply = PROTOCOLS["openai"].answer(server, asked)
        return Reply(reply.status, reply.body, seconds=20.0 if late[0] else 0.0)

    node, origin = beside(
        stack, tmp_path, monkeypatch, answer, kind="openai-compatible", model="painter", options={"idempotency": "yes"}
    )
    with node.running() as server:
        job = admit(server, photo, instructions=WISH, fallback="only")
        was_asked(origin, "/images/edits")
        kill(server)
    late[0] = False
    with node.running() as server:
        assert ended(server, job)["status"] == "Ready"
    keys = [asked.headers["idempotency-key"] for asked in origin.submissions]
    assert keys == [job, job], "twice under one key: the central does it once"


def test_sigterm_leaves_jobs_in_the_queue(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """What a provider has is neither waited for nor taken back; it is fetched after the next start."""
    upstream = Upstream()
    node, origin = beside(stack, tmp_path, monkeypatch, upstream.answer)
    with node.running() as server:
        job = admit(server, photo, instructions=WISH, fallback="only")
        was_asked(origin, "get_result")
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(20) == 0 and time.monotonic() - began < 15
    assert node.row(job)["state"] == "Pending" and "receipt" in node.row(job)["roles"]
    upstream.pending = False
    with node.running() as server:
        assert ended(server, job)["status"] == "Ready"
    assert len(origin.submissions) == 1


def test_killed_at_random_moments_every_job_ends_once(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """Local and remote jobs side by side, six kills: each job has one end, and one submission at most."""
    upstream = Upstream()
    upstream.pending, upstream.submit_seconds, upstream.delivery_seconds = False, 0.2, 0.2
    node, origin = beside(stack, tmp_path, monkeypatch, upstream.answer)
    moments = random.Random(7)
    with node.running() as server:
        local = [admit(server, photo, size=f"{200 + number}") for number in range(10)]
        wish = {"instructions": WISH, "fallback": "only"}
        remote = [admit(server, photo, size=f"{200 + number}", **wish) for number in range(10)]
        kill(server)
    for _ in range(5):
        with node.running() as server:
            time.sleep(moments.uniform(0.0, 1.5))
            kill(server)
    with node.running() as server:
        told = {job: ended(server, job) for job in (*local, *remote)}
        assert all(told[job]["status"] == "Ready" for job in local)
        for job in remote:
            unsure = told[job]["status"] == "Error" and told[job]["error"]["code"] == "provider_unsure"
            assert unsure or (told[job]["status"] == "Ready" and picture(server, job))
    submitted = Counter(asked.headers["idempotency-key"] for asked in origin.submissions)
    assert set(submitted) == set(remote) and set(submitted.values()) == {1}
    assert node.files() <= KEPT
