"""How fast `/healthz` answers while clients hold connections open and say next to nothing, and under wrk.

    python -m benchmarks.attack [--sockets 900] [--requests 200]

Each attacking socket sends half a header or half a body, and a byte more every second; the server closes those that
take too long, and they come back at once. wrk (Debian: apt install wrk) is left out where it isn't installed.
"""

from __future__ import annotations

import argparse
import http.client
import re
import selectors
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks.node import started
from benchmarks.table import markdown

ATTACKS = {
    "half a header": b"POST /edit HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "half a body": b"POST /edit HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 100000\r\n\r\n--x",
    "nothing": b"",
}
WRK_SECONDS = 10
_BYTE_SECONDS = 1.0


class Attack:
    """Sockets that never finish their request. `held` counts those that are open."""

    def __init__(self, port: int, sockets: int, said: bytes) -> None:
        self._port, self._sockets, self._said = port, sockets, said
        self._open: list[socket.socket] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="attack")

    @property
    def held(self) -> int:
        """Return how many sockets are open."""
        return len(self._open)

    def start(self) -> None:
        """Open all, and keep them so."""
        self._refill()
        self._thread.start()

    def stop(self) -> None:
        """Close all."""
        self._stopping.set()
        self._thread.join()
        for one in self._open:
            one.close()

    def _go_on(self) -> None:
        while not self._stopping.wait(_BYTE_SECONDS):
            self._open = [one for one in self._open if self._dripped(one)]
            self._refill()

    def _refill(self) -> None:
        while len(self._open) < self._sockets:
            one = socket.create_connection(("127.0.0.1", self._port), 10)
            one.sendall(self._said)
            self._open.append(one)

    def _dripped(self, one: socket.socket) -> bool:
        """Send a byte more; false when the server has closed."""
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(one, selectors.EVENT_READ)
                if selector.select(0):  # an answer, or the end
                    one.close()
                    return False
            if self._said:
                one.sendall(b"x")
        except OSError:
            one.close()
            return False
        return True


@contextmanager
def attacked(port: int, sockets: int, said: bytes) -> Iterator[Attack]:
    """Hold so many sockets open meanwhile."""
    attack = Attack(port, sockets, said)
    attack.start()
    try:
        yield attack
    finally:
        attack.stop()


def health_milliseconds(port: int, requests: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return how long each of so many health checks took, connecting included, one after the other."""
    took = []
    for _ in range(requests):
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answer.read()
        took.append(1000 * (time.perf_counter() - began))
        connection.close()
        assert answer.status == 200, answer.status
        time.sleep(0.02)
    return np.array(took)


def row(name: str, took: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[object]:
    """Return a row of the table."""
    p50, p95 = np.percentile(took, [50, 95])
    return [name, len(took), f"{p50:.1f}", f"{p95:.1f}", f"{took.max():.1f}"]


def under_wrk(port: int, requests: int, path: str, seconds: int = WRK_SECONDS) -> list[object] | None:
    """Return the row of health checks while wrk asks for a path over 100 connections; None without wrk."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return None
    command = [wrk, "-t1", "-c100", f"-d{seconds}s", f"http://127.0.0.1:{port}{path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        took = health_milliseconds(port, requests)
        told, _ = running.communicate(timeout=60)
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", told)
    return row(f"wrk, 100 connections, {path}: {float(rate[1]):.0f} requests/s" if rate else "wrk", took)


def measured(sockets: int, requests: int) -> str:
    """Return the table of milliseconds."""
    with started() as node:
        rows = [row("nobody else", health_milliseconds(node.port, requests))]
        for name, said in ATTACKS.items():
            with attacked(node.port, sockets, said) as attack:
                rows.append(row(f"{attack.held} sockets, {name}", health_milliseconds(node.port, requests)))
        rows += filter(None, (under_wrk(node.port, requests, path) for path in ("/healthz", "/v1/models")))
    return markdown(["what else", "health checks", "p50 ms", "p95 ms", "most ms"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=900)
    parser.add_argument("--requests", type=int, default=200)
    given = parser.parse_args()
    print(measured(given.sockets, given.requests))
