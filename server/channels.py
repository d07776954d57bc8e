"""Connections of waitress, with three things of ours: errors are problems, health checks wait for nobody, and a request
that its headers alone refuse is answered before its body is read.

Waitress takes a whole body before it calls the application. Here the parser asks the entrance as soon as the headers
are there; a refused request goes to the application at once, without a body and with the reason. What the client still
sends is thrown away for a while instead of closing at once: a client that is closed upon while it sends never sees the
answer.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any, Final

from waitress.buffers import OverflowableBuffer  # type: ignore[import-untyped]
from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
from waitress.parser import HTTPRequestParser  # type: ignore[import-untyped]
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask  # type: ignore[import-untyped]
from waitress.utilities import Error  # type: ignore[import-untyped]

from edge_runtime.errors import FullError
from server.entrance import REFUSAL, Entrance
from server.problems import MEDIA_TYPE, problem
from server.room import is_full

AT_ONCE: Final = "/healthz"
HEALTH_PATHS: Final = (AT_ONCE, "/readyz")
LINGER_SECONDS: Final = 5.0
LINGER_BYTES: Final = 64 * 1024 * 1024


def channel_class(entrance: Entrance) -> type:
    """Return the class of connections whose requests pass `entrance`."""

    class Channel(_Channel):
        asks = entrance

    return Channel


class HealthFirst(deque[Any]):
    """Waitress' line of connections with a request to answer, in which health checks go before all others."""

    def __init__(self) -> None:
        super().__init__()
        self._health: deque[Any] = deque()

    def append(self, channel: Any) -> None:
        """Put a connection at the end of its line."""
        # A request that couldn't be parsed has no path.
        health = channel.requests and getattr(channel.requests[0], "path", "") in HEALTH_PATHS
        self._health.append(channel) if health else super().append(channel)

    def popleft(self) -> Any:
        """Take the next connection."""
        return self._health.popleft() if self._health else super().popleft()

    def __len__(self) -> int:
        return len(self._health) + super().__len__()

    def __bool__(self) -> bool:
        return len(self) > 0


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Waitress' threads, with health checks first; one that has just been read is answered by who has read it.

    That thread is the event loop, which may wait for nothing: so only `/healthz`, whose answer needs no lock.
    """

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.queue = HealthFirst()
        self.set_thread_count(threads)

    def add_task(self, channel: Any) -> None:
        """Have the first request of a connection answered."""
        if getattr(channel.requests[0], "path", "") == AT_ONCE and threading.get_ident() == channel.reader:
            channel.at_once = True
        else:
            super().add_task(channel)


class _NoRoomError(Error):  # type: ignore[misc]
    """Waitress' error for a body that found no room."""

    code, reason = FullError.status, "Insufficient Storage"


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    refusal: Exception | None = None
    content_length: int
    body_rcv: Any

    def __init__(self, channel: _Channel, adj: object) -> None:
        super().__init__(adj)
        self._channel = channel

    def received(self, data: bytes) -> int:
        try:
            consumed: int = super().received(data)
        except OSError as error:
            if not is_full(error):
                raise
            self._no_room()
        return len(data) if self._channel.refused else consumed

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.content_length <= 0 and not self.chunked:
            return
        asks = self._channel.asks
        self.refusal = asks.refusal(self.command.upper(), self.path, self._header, self.content_length)
        if self.refusal is not None:
            self._channel.refused = True
            self.body_rcv, self.content_length, self.expect_continue = None, 0, False

    def _no_room(self) -> None:
        """Refuse a body that can't be kept: large ones wait in the folder for temporary files."""
        self.error = _NoRoomError("there is no room left for the request on the node's disk")
        self.completed = self._channel.refused = True
        if self.body_rcv is not None:
            with suppress(OSError):  # it still wants to write
                self.body_rcv.getbuf().close()
            self.body_rcv = None

    def _header(self, name: str) -> str | None:
        value: str | None = self.headers.get(name.upper().replace("-", "_"))
        return value


class _Task(WSGITask):  # type: ignore[misc]
    def get_environment(self) -> dict[str, Any]:
        environment: dict[str, Any] = super().get_environment()
        if self.request.refusal is not None:
            environment[REFUSAL] = self.request.refusal
            self.set_close_on_finish()
        return environment


class _ProblemTask(ErrorTask):  # type: ignore[misc]
    """The answer to a request that never reaches the application."""

    def execute(self) -> None:
        error = self.request.error
        code = error.reason.lower().replace(" ", "_")
        body = json.dumps(problem(error.code, f"{error.reason}: {error.body}.", code=code)).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", MEDIA_TYPE))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Buffer(OverflowableBuffer):  # type: ignore[misc]
    """What a client has still to read: beyond a megabyte in a temporary file, in memory where there is no room."""

    def _set_large_buffer(self) -> None:
        file = self.getfile()
        place = file.tell()
        try:
            super()._set_large_buffer()
        except OSError as error:
            if not is_full(error):
                raise
            file.seek(place)  # it was read from the start, in order to copy it
            self.overflow = sys.maxsize


class _Channel(HTTPChannel):  # type: ignore[misc]
    """`refused`: what still comes is the body of a refused request. It is thrown away until `_lingers_until`.

    `reader` is the thread that reads, and `at_once` says that it answers too.
    """

    asks: Entrance
    will_close: bool
    current_outbuf_count: int
    error_task_class, task_class = _ProblemTask, _Task
    refused = False
    reader: int | None = None
    at_once = False
    _lingers_until: float | None = None
    _thrown_bytes = 0

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.outbufs = [_Buffer(self.adj.outbuf_overflow)]

    def parser_class(self, adj: object) -> _Parser:
        return _Parser(self, adj)

    def received(self, data: bytes) -> bool:
        self.reader = threading.get_ident()
        taken = not self.refused and bool(super().received(data))
        if self.at_once:
            # What else this read brought waits in the line, or a client could keep the loop busy by one read.
            self.at_once, self.reader = False, None
            self.service()
        return taken

    def readable(self) -> bool:
        return self._lingers_until is not None or bool(super().readable())

    def writable(self) -> bool:
        if self._lingers_until is not None:
            return time.monotonic() > self._lingers_until
        return bool(super().writable())

    def write_soon(self, data: Any) -> int:
        """Take what shall be sent; waitress would begin the next answer's buffer, which is ours to choose."""
        if self.current_outbuf_count >= self.adj.outbuf_high_watermark:
            with self.outbuf_lock:
                self.outbufs.append(_Buffer(self.adj.outbuf_overflow))
                self.current_outbuf_count = 0
        return int(super().write_soon(data))

    def handle_read(self) -> None:
        if self._lingers_until is None:
            super().handle_read()
            return
        self._thrown_bytes += len(self.recv(self.adj.recv_bytes))  # closes the connection at its end
        if self._thrown_bytes > LINGER_BYTES:
            self.handle_close()

    def handle_write(self) -> None:
        if self._lingers_until is None:
            super().handle_write()
        else:
            self.handle_close()

    def handle_close(self) -> None:
        """Close; but when a refused request was answered, say that nothing more comes, and linger."""
        if self.refused and self.will_close and self.connected and self._lingers_until is None:
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                super().handle_close()  # it is gone already
                return
            self._lingers_until, self.will_close = time.monotonic() + LINGER_SECONDS, False
        else:
            super().handle_close()
