"""A provider's server on loopback: answers by a protocol, and misbehaves first as long as the script says."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came. Names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer; `cut` sends half of the body and closes, `seconds` is how long it keeps one waiting."""

    status: int = 200
    body: object = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cut: bool = False


HANG = Reply(seconds=30.0)
LOST = Reply(cut=True, body=b"")
STORM = Reply(status=500, body={"error": {"message": "internal error"}})


class Origin(ThreadingHTTPServer):
    """`protocol` maps what is asked to a reply; replies in `script` come first, to submissions only."""

    daemon_threads = True

    def __init__(self, protocol: Callable[[Origin, Asked], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.protocol, self.script = protocol, deque[Reply]()
        self.asked: list[Asked] = []
        self.jobs: dict[str, Any] = {}
        self.closing = threading.Event()
        self.left = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def submissions(self) -> list[Asked]:
        return [one for one in self.asked if one.method == "POST" and not one.path.endswith("/cancel")]


class Handler(BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = Asked(self.command, self.path, {name.lower(): text for name, text in self.headers.items()}, body)
        self.server.asked.append(asked)
        scripted = self.server.script and asked in self.server.submissions
        reply = self.server.script.popleft() if scripted else self.server.protocol(self.server, asked)
        self._wait(reply.seconds)
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.close_connection = True
        if reply.cut and not content:
            return
        with suppress(OSError):  # the client may have left
            self.send_response(reply.status)
            for name, text in reply.headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if reply.cut else content)

    def _wait(self, seconds: float) -> None:
        """Keep the client waiting, unless it leaves or the test ends."""
        end = time.monotonic() + seconds
        self.connection.settimeout(0.05)
        while time.monotonic() < end and not self.server.closing.is_set():
            try:
                if not self.connection.recv(1):
                    self.server.left.set()
                    return
            except TimeoutError:
                continue
            except OSError:
                self.server.left.set()
                return
        self.connection.settimeout(None)


@contextmanager
def started(protocol: Callable[[Origin, Asked], Reply]) -> Iterator[Origin]:
    with Origin(protocol) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
