"""Servers killed with -9 wherever a job can be: nothing is lost, nothing is done or paid twice, no file is left."""

from __future__ import annotations

import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.providers.origin import Asked, Origin, Reply
from tests.providers.protocols import PROTOCOLS
from tests.server.jobs.killing import HTTP, OPEN, Node, admit, ended, kill, picture, state
from tests.server.jobs.upstream import WISH, Upstream, beside, was_asked
from tests.server.started import started_server

pytestmark = pytest.mark.slow

KEPT = {"jobs.sqlite", "master.key"}
LIBRARIES = {".ses"}
"""In the folder for temporary files: ONNX Runtime notes there when it first began, one file for all processes."""


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
    assert node.files() <= KEPT and {path.name for path in (tmp_path / "tmp").iterdir()} <= LIBRARIES


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


def test_another_nanoedge_as_central_does_it_once(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large_photo: bytes
) -> None:
    """The edge is killed while the central works for it, and asks again while that may still be so."""
    central = stack.enter_context(started_server())
    node, _ = beside(
        stack, tmp_path, monkeypatch, PROTOCOLS["openai"].answer, kind="openai-compatible", model="nano-banana",
        base_url=f"{central.url}/v1", options={"idempotency": "yes"},
    )  # fmt: skip
    with node.running() as server:
        job = admit(server, large_photo, instructions="black and white", model="central", fallback="only")
        node.wait(job, lambda row: row["provider"] == "central")
        time.sleep(0.5)
        kill(server)
    assert node.row(job)["state"] in OPEN
    with node.running() as server:
        assert ended(server, job)["status"] == "Ready"
    counted = HTTP.request("GET", f"{central.url}/metrics").data.decode()
    runs = re.search(r'imgedit_edit_duration_seconds_count\{[^}]*stage="encode"[^}]*\} (\S+)', counted)
    assert runs and float(runs[1]) == 1


REPLICATE = {"kind": "replicate", "model": PROTOCOLS["replicate"].model}
"""It has a call that takes an edit back, which nobody may make who only ends."""


def test_sigterm_leaves_jobs_in_the_queue(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """What a provider has is neither waited for nor taken back; it is fetched after the next start."""
    upstream = Upstream("replicate")
    node, origin = beside(stack, tmp_path, monkeypatch, upstream.answer, **REPLICATE)
    with node.running() as server:
        job = admit(server, photo, instructions=WISH, fallback="only")
        was_asked(origin, "/predictions/p")
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(30) == 0 and time.monotonic() - began < 25
    assert node.row(job)["state"] == "Pending" and "receipt" in node.row(job)["roles"]
    upstream.pending = False
    with node.running() as server:
        assert ended(server, job)["status"] == "Ready"
    assert len(origin.submissions) == 1 and not was_taken_back(origin)


def was_taken_back(origin: Origin) -> bool:
    return any(asked.path.endswith("/cancel") for asked in origin.asked)


def test_a_cancelled_job_is_taken_back_from_its_provider(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    node, origin = beside(stack, tmp_path, monkeypatch, Upstream("replicate").answer, **REPLICATE)
    with node.running() as server:
        job = admit(server, photo, instructions=WISH, fallback="only")
        was_asked(origin, "/predictions/p")
        assert HTTP.request("POST", f"{server.url}/v1/edits/jobs/{job}/cancel").json()["status"] == "Cancelled"
        was_asked(origin, "/cancel")
        assert state(server, job)["status"] == "Cancelled"


def test_a_server_that_hangs_loses_its_job_to_another_and_does_no_harm_when_it_wakes(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """Two servers on one state folder; the first is stopped for longer than its lease."""
    upstream = Upstream("replicate")
    node, origin = beside(stack, tmp_path, monkeypatch, upstream.answer, **REPLICATE)
    with node.running() as first:
        job = admit(first, photo, instructions=WISH, fallback="only")
        was_asked(origin, "/predictions/p")
        owner = node.row(job)["owner"]
        first.process.send_signal(signal.SIGSTOP)
        try:
            with node.running() as second:
                node.wait(job, lambda row: row["owner"] not in (owner, None))
                first.process.send_signal(signal.SIGCONT)
                time.sleep(5)  # the first one renews its leases in this time, and finds that it lost one
                assert state(second, job)["status"] == "Processing" and not was_taken_back(origin)
                upstream.pending = False
                told = ended(second, job)
                assert told["status"] == "Ready" and state(first, job)["result"]["width"] == 600
        finally:
            first.process.send_signal(signal.SIGCONT)
    assert len(origin.submissions) == 1 and not was_taken_back(origin)


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
    assert set(submitted) <= set(remote) and set(submitted.values()) == {1}
    # A server killed just before it asks can't tell afterwards that it didn't: such a job is unsure as well.
    assert {job for job in remote if told[job]["status"] == "Ready"} <= set(submitted)
    assert node.files() <= KEPT
