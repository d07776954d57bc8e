"""How soon the early picture comes while a central works, and what deciding costs.

    python -m benchmarks.preview [--edits 40] [--central-seconds 5] [--side 512]

Starts a central that only waits and answers with the photo, and a node that sends to it. One edit at a time.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from benchmarks.node import started
from benchmarks.table import jpeg, markdown, photographs
from converters.bench.http_client import form

WISHES = ("warmer, and put a hat on", "black and white, add a red balloon", "replace the sky with a starry night")


@contextmanager
def central(seconds: float, picture: bytes) -> Iterator[str]:
    """Answer every edit with the picture after so many seconds, and yield the address."""
    body = json.dumps({"data": [{"b64_json": base64.b64encode(picture).decode("ascii")}]}).encode()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - the name that the library calls
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(seconds)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


def streamed(port: int, photo: bytes, prompt: str) -> dict[str, float]:
    """Return the seconds until each event of a streamed edit had come whole."""
    body, headers = form(photo, prompt=prompt, model="auto", stream="true", partial_images="1")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    began, seen = time.perf_counter(), {}
    connection.request("POST", "/v1/images/edits", body, headers)
    answer, name = connection.getresponse(), ""
    for line in answer:
        if line.startswith(b"event: "):
            name = line[7:].strip().decode()
        elif line == b"\n" and name:
            seen[name], name = time.perf_counter() - began, ""
    connection.close()
    return seen


def decided(port: int, photo: bytes, prompt: str) -> float:
    """Return the seconds of a decision alone."""
    body, headers = form(photo, instructions=prompt, model="auto")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    began = time.perf_counter()
    connection.request("POST", "/v1/route", body, headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    connection.close()
    return time.perf_counter() - began


def measured(edits: int, seconds: float, side: int) -> str:
    """Return the table of milliseconds."""
    photo = jpeg(next(iter(photographs(None).values())), side)
    with central(seconds, photo) as url, tempfile.TemporaryDirectory() as folder:
        entry = {"name": "central", "kind": "openai-compatible", "base_url": url, "model": "slow"}
        file = Path(folder) / "providers.json"
        file.write_text(json.dumps({"fallback": "allow", "providers": [entry]}))
        with started(options=("--providers", str(file))) as node:
            streamed(node.port, photo, WISHES[0])
            events = [streamed(node.port, photo, WISHES[turn % len(WISHES)]) for turn in range(edits)]
            routes = [decided(node.port, photo, WISHES[turn % len(WISHES)]) for turn in range(edits)]
    found = {
        "decision alone": routes,
        "early picture": [event["image_edit.partial_image"] for event in events],
        "final picture": [event["image_edit.completed"] for event in events],
    }
    rows = []
    for name, values in found.items():
        p50, p95 = np.percentile(1000 * np.array(values), [50, 95])
        rows.append([name, side, edits, f"{p50:.0f}", f"{p95:.0f}"])
    return markdown(["what", "long side px", "edits", "p50 ms", "p95 ms"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=40)
    parser.add_argument("--central-seconds", type=float, default=5.0)
    parser.add_argument("--side", type=int, default=512)
    given = parser.parse_args()
    print(measured(given.edits, given.central_seconds, given.side))
