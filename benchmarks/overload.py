"""A node under more edits than it can hold: who gets in, whether in time, and whether those sent away get in later.

    python -m benchmarks.overload [--seconds 120] [--load 2] [--side 1024] [--deadline-edits 6] [--central]

Open loop: edits arrive at random (Poisson) at `load` times what the node does when it is never idle, whatever it
answers. Everybody has a deadline, of so many edits' time. Who is told to come back does, once, after the time that it
was told. What the node can hold is measured first, and again at the end.

`--central`: twice, alone and beside a second node in the role of central to which edits may go. Each node has one core
to itself, as two machines have, and shares it with nobody but the clients. The edits are long ones there.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.node import BACKGROUND_EDIT, Node, started
from benchmarks.table import jpeg, markdown, photographs
from converters.bench.http_client import form
from edge_runtime.editor import EMBEDDED

_LANES = 3
"""Edits at a time when measuring what the node can hold: more than one, so that it never waits for the client."""

_CENTRAL = "central-nano"
"""The model of the central: the small one again, so that what both nodes hold can be compared."""

_LONG_EDIT = "remove the noise"
"""It takes much longer than sending it away does, as edits do that one has a central for."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One request and its answer. `back`: this client had been sent away before."""

    status: int
    seconds: float
    retry_seconds: float
    back: bool
    code: str
    site: str = ""
    """Where it was done."""


@dataclass(kw_only=True)
class Crowd:
    """Clients of one node."""

    port: int
    photo: bytes
    deadline_seconds: float
    fallback: str = "never"
    wish: str = BACKGROUND_EDIT
    visits: list[Visit] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def come(self) -> None:
        """Ask for an edit, and once more if told to come back."""
        key = uuid.uuid4().hex
        first = self._visit(key, back=False)
        if first.status == http.client.SERVICE_UNAVAILABLE:
            time.sleep(first.retry_seconds)
            self._visit(key, back=True)

    def _visit(self, key: str, back: bool) -> Visit:
        milliseconds = str(round(1000 * self.deadline_seconds))
        body, headers = form(
            self.photo, instructions=self.wish, deadline_ms=milliseconds, output_format="jpeg",
            fallback=self.fallback,
        )  # fmt: skip
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", "/edit", body, {**headers, "Accept": "image/jpeg", "Idempotency-Key": key})
            answer = connection.getresponse()
            content = answer.read()
            done = answer.status == http.client.OK
            visit = Visit(
                status=answer.status, seconds=time.perf_counter() - began, back=back,
                retry_seconds=float(answer.headers.get("Retry-After") or 0),
                code="" if done else json.loads(content)["error"]["code"],
                site=json.loads(answer.headers["X-Route"])["site"] if done else "",
            )  # fmt: skip
        finally:
            connection.close()
        with self.lock:
            self.visits.append(visit)
        return visit


def capacity(port: int, photo: bytes, seconds: float, wish: str = BACKGROUND_EDIT) -> float:
    """Return the edits a second of a node that always has one waiting."""
    crowd = Crowd(port=port, photo=photo, deadline_seconds=60.0, wish=wish)
    crowd.come()  # opens what is opened once
    crowd.visits.clear()
    began = time.perf_counter()

    def busy() -> None:
        while time.perf_counter() < began + seconds:
            crowd.come()

    lanes = [threading.Thread(target=busy) for _ in range(_LANES)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    return len(crowd.visits) / (time.perf_counter() - began)


def overloaded(node: Node, crowd: Crowd, rate: float, seconds: float) -> list[int]:
    """Let edits arrive at `rate` a second, wait for the last one, and return the memory seen each second."""
    chooser, clients, memory = random.Random(0), [], []
    began = due = time.perf_counter()
    while due < began + seconds:
        time.sleep(max(0.0, due - time.perf_counter()))
        clients.append(threading.Thread(target=crowd.come, daemon=True))
        clients[-1].start()
        due += chooser.expovariate(rate)
        if len(memory) < time.perf_counter() - began:
            memory.append(node.memory_bytes())
    for client in clients:
        client.join()
    memory.append(node.memory_bytes())
    return memory


def figures(visits: Sequence[Visit], deadline_seconds: float, spent: float) -> dict[str, str]:
    """Return what is told of visits in `spent` seconds, by name."""
    statuses = Counter(visit.status for visit in visits)
    accepted = [visit for visit in visits if visit.status != http.client.SERVICE_UNAVAILABLE]
    refused = [visit for visit in visits if visit.status == http.client.SERVICE_UNAVAILABLE]
    returned = [visit for visit in visits if visit.back]
    reasons = Counter(visit.code for visit in returned if visit.status == http.client.SERVICE_UNAVAILABLE)
    admitted = sum(visit.status != http.client.SERVICE_UNAVAILABLE for visit in returned)
    p50, p95 = np.percentile([visit.seconds for visit in accepted], [50, 95])
    kept = np.mean([visit.status == http.client.OK and visit.seconds <= deadline_seconds for visit in accepted])
    return {
        "edits done a second, on the average": f"{statuses[http.client.OK] / spent:.1f}",
        "done by": ", ".join(f"{count} x {site}" for site, count in Counter(
            visit.site for visit in visits if visit.site).items()),
        "answers": ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())),
        "accepted: p50 and p95 s": f"{p50:.2f}, {p95:.2f}",
        "accepted and done within the deadline": f"{100 * kept:.1f} %",
        "refused: p95 ms until told so": f"{1000 * np.percentile([v.seconds for v in refused] or [0], 95):.0f}",
        "told to come back, and did": str(len(returned)),
        "of these let in": f"{admitted} ({100 * admitted / max(1, len(returned)):.1f} %)",
        "sent away again, by reason": ", ".join(f"{count} x {code}" for code, count in reasons.items()) or "none",
        "longest Retry-After s": f"{max((visit.retry_seconds for visit in refused), default=0):.0f}",
    }


@contextmanager
def on_core(number: int | None) -> Iterator[None]:
    """Let processes that are started meanwhile run on one core alone; None: on all."""
    before = os.sched_getaffinity(0)
    if number is not None:
        os.sched_setaffinity(0, {sorted(before)[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def central(core: int) -> Iterator[Path]:
    """Start a node in the role of central on a core of its own, and yield the file that names it as provider."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        artifact = Path(folder) / _CENTRAL
        shutil.copytree(EMBEDDED, artifact)
        with on_core(core):
            options = ["--role", "central", "--state", str(Path(folder, "state"))]
            node = stack.enter_context(started([artifact], options))
        capacity(node.port, jpeg(next(iter(photographs(None).values())), 512), 2.0)  # opens what is opened once
        entry = {
            "name": "central", "kind": "openai-compatible", "base_url": f"http://127.0.0.1:{node.port}/v1",
            "model": _CENTRAL, "price_usd": 0.001, "seconds": 0.5,
        }  # fmt: skip
        file = Path(folder) / "providers.json"
        file.write_text(json.dumps({"providers": [entry]}))
        yield file


def measured(
    seconds: float, load: float, side: int, deadline_edits: float, core: int | None = None,
    providers: Path | None = None, wish: str = BACKGROUND_EDIT,
) -> dict[str, str]:
    """Start a node, overload it, and return the figures by name; `providers` names one that takes what is too much."""
    photo = jpeg(next(iter(photographs(None).values())), side)
    options = ["--providers", str(providers)] if providers else []
    with ExitStack() as stack:
        with on_core(core):
            node = stack.enter_context(started(options=options))
        rate = capacity(node.port, photo, max(5.0, seconds / 8), wish)
        deadline_seconds = deadline_edits / rate
        crowd = Crowd(
            port=node.port, photo=photo, deadline_seconds=deadline_seconds, wish=wish,
            fallback="allow" if providers else "never",
        )  # fmt: skip
        began = time.perf_counter()
        memory = [value / 1e6 for value in overloaded(node, crowd, load * rate, seconds)]
        spent = time.perf_counter() - began
        after = capacity(node.port, photo, max(5.0, seconds / 8), wish)
    quarter = max(1, len(memory) // 4)
    early, late = np.median(memory[quarter : 2 * quarter] or memory), np.median(memory[-quarter:])
    return {
        "edits a second that it can hold, before and after": f"{rate:.1f}, {after:.1f}",
        "arrivals a second": f"{load * rate:.1f} for {seconds:g} s",
        "deadline s": f"{deadline_seconds:.2f}",
        **figures(crowd.visits, deadline_seconds, spent),
        "memory MB: second quarter, last quarter, largest": f"{early:.0f}, {late:.0f}, {max(memory):.0f}",
    }


def beside_central(*given: Any) -> list[list[str]]:
    """Return the rows of the figures of a node on one core, alone and with a central on another."""
    alone = measured(*given, core=0, wish=_LONG_EDIT)
    with central(core=1) as providers:
        helped = measured(*given, core=0, providers=providers, wish=_LONG_EDIT)
    return [[name, alone[name], value] for name, value in helped.items()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--load", type=float, default=2.0)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--deadline-edits", type=float, default=6.0)
    parser.add_argument("--central", action="store_true")
    given = parser.parse_args()
    numbers = given.seconds, given.load, given.side, given.deadline_edits
    if given.central:
        print(markdown(["what", "alone", "with a central"], beside_central(*numbers)))
    else:
        print(markdown(["what", "value"], list(measured(*numbers).items())))
