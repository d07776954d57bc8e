"""Open loop against a small node that is real HTTP: one edit at a time, so that what it can do is known."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from converters.bench import http_client
from converters.bench.arrivals import WARM_UP_EDITS, OpenLoop
from converters.bench.edits import edits_of
from converters.bench.journal import Journal
from converters.bench.settings import Node
from converters.bench.suite import load
from converters.bench.summary import _rate, _saturation
from edge_runtime.errors import OptionError

EDIT_SECONDS = 0.05
RATES = (3.0, 40.0)


@contextmanager
def one_at_a_time(waiting: int, key: str = "") -> Iterator[str]:
    """Serve edits of EDIT_SECONDS one after another, and refuse while more than `waiting` wait."""
    turn, places = threading.Lock(), threading.Semaphore(waiting + 1)

    class Node(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - the name that the library calls
            self.answer(200, {"status": "ok"})

        def do_POST(self) -> None:  # noqa: N802
            self.rfile.read(int(self.headers["Content-Length"]))
            if key and self.headers["Authorization"] != f"Bearer {key}":
                self.answer(401, {"error": {"code": "bad_key"}})
            elif not places.acquire(blocking=False):
                self.answer(503, {"error": {"code": "busy"}}, **{"Retry-After": "2"})
            else:
                with turn:
                    time.sleep(EDIT_SECONDS)
                places.release()
                self.answer(200, {})

        def answer(self, status: int, body: object, **headers: str) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Node) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def measured(url: str, photos, tmp_path, rates=RATES, key=None) -> Journal:
    journal = Journal(tmp_path / "report", {}, resume=False)
    edits = edits_of(load().chosen(4), photos)
    node = Node(url=url, rates=rates, seconds=2.0, key=key)
    with closing(journal):
        OpenLoop(node=node, edits=edits, journal=journal, report=lambda *_: None).run()
    return journal


def test_a_queue_shows_although_no_single_edit_is_slow(photos, tmp_path) -> None:
    """Twice as many arrivals as the node can do: the last of them wait for all before them."""
    with one_at_a_time(waiting=1000) as url:
        slow, fast = (_rate(entry) for entry in measured(url, photos, tmp_path).of("rate"))
    assert slow["keeps_up"] and slow["p50"]["value"] < 3 * EDIT_SECONDS
    assert not fast["keeps_up"] and fast["refused"] == 0
    assert fast["p95"]["value"] > 10 * EDIT_SECONDS
    assert 0.5 / EDIT_SECONDS < fast["throughput"] <= 1.05 / EDIT_SECONDS
    found = _saturation([slow, fast])
    assert (found["keeps_up"], found["falls_behind"]) == RATES


def test_refusals_are_counted_apart(photos, tmp_path) -> None:
    with one_at_a_time(waiting=0) as url:
        (entry,) = measured(url, photos, tmp_path, rates=(25.0,)).of("rate")
    found = _rate(entry)
    assert found["refused"] > 5 and found["failed"] == 0 and found["retry_p50"] == 2.0
    assert found["arrivals"] == found["done"] + found["refused"]
    assert {arrival["code"] for arrival in entry["arrivals"]} == {"", "busy"}


def test_a_key_is_sent_and_one_that_is_missing_is_said_before_anything_is_measured(photos, tmp_path) -> None:
    with one_at_a_time(waiting=9, key="secret") as url:
        with pytest.raises(OptionError, match="401 bad_key"):
            measured(url, photos, tmp_path / "without")
        journal = measured(url, photos, tmp_path / "with", rates=(5.0,), key="secret")
    statuses = [arrival["status"] for entry in journal.of("rate") for arrival in entry["arrivals"]]
    assert statuses and {*statuses} == {200} and WARM_UP_EDITS > 0


def test_arrivals_are_as_random_as_they_should_be(photos, tmp_path) -> None:
    with one_at_a_time(waiting=0) as url:
        (entry,) = measured(url, photos, tmp_path, rates=(40.0,)).of("rate")
    gaps = np.diff([arrival["due"] for arrival in entry["arrivals"]])
    assert 0.7 / 40 < gaps.mean() < 1.4 / 40
    assert 0.6 < gaps.std() / gaps.mean() < 1.5  # 1 of a Poisson process


@pytest.mark.parametrize("url", ["ftp://host", "host:80", "http://", "http://host:port"])
def test_addresses_that_are_none(url) -> None:
    with pytest.raises(OptionError, match="address"):
        http_client.Address.parse(url)
