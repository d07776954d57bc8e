"""One HTTP request on one connection, bounded as a whole: by seconds, by bytes, and by somebody who may give it up."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError
from urllib3.response import HTTPResponse

_LOOK_AROUND_SECONDS: Final = 0.1
_CONNECT_SECONDS: Final = 5.0
_CHUNK_BYTES: Final = 64 * 1024


class UnreachedError(Exception):
    """No connection was made, so nothing was asked."""


class LostError(Exception):
    """The request was sent, or may have been, and there is no complete answer to it."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request. Headers may hold a key, so they aren't printed."""

    method: str
    url: str
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Answer(NamedTuple):
    """Status, headers with names in lower case, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def sent_and_answered(call: Call, seconds: float, max_bytes: int, given_up: Callable[[], bool]) -> Answer:
    """Send a request and read the whole answer; redirects are answers. Raises UnreachedError or LostError.

    After `seconds`, or as soon as `given_up` says so, the connection is closed, which tells the other side.
    """
    began = time.monotonic()
    with (
        _connected(call.url, min(seconds, _CONNECT_SECONDS), given_up) as connection,
        _watched(connection, seconds - (time.monotonic() - began), given_up),
    ):
        try:
            connection.request(
                call.method, _path(call.url), body=call.body or None, preload_content=False, decode_content=False,
                headers={"User-Agent": "nanoedge", "Accept": "application/json", "Accept-Encoding": "identity",
                         **call.headers},
            )  # fmt: skip
            with closing(connection.getresponse()) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, headers, _body(response, max_bytes))
        except (OSError, HTTPError, http.client.HTTPException, ValueError) as error:
            raise LostError(f"the connection was lost ({type(error).__name__})") from error


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"


@contextmanager
def _connected(url: str, seconds: float, given_up: Callable[[], bool]) -> Iterator[HTTPConnection]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection: HTTPConnection
    if parts.scheme == "https":
        connection = HTTPSConnection(host, port or 443, timeout=seconds, ssl_context=ssl.create_default_context())
    else:
        connection = HTTPConnection(host, port or 80, timeout=seconds)
    try:
        _connect(connection, seconds, given_up)
        yield connection
    finally:
        connection.close()


def _connect(connection: HTTPConnection, seconds: float, given_up: Callable[[], bool]) -> None:
    """Connect, or raise UnreachedError. On a thread: a name server can't be interrupted, only left behind."""
    outcome: SimpleQueue[Exception | None] = SimpleQueue()
    late = threading.Event()

    def connect() -> None:
        try:
            connection.connect()
        except (OSError, HTTPError, ValueError) as error:
            outcome.put(error)
            return
        outcome.put(None)
        if late.is_set():
            connection.close()

    threading.Thread(target=connect, name="provider-connect", daemon=True).start()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not given_up():
        try:
            error = outcome.get(timeout=_LOOK_AROUND_SECONDS)
        except Empty:
            continue
        if error is not None:
            raise UnreachedError(_connection_words(error)) from error
        return
    late.set()
    raise UnreachedError("it was not found or connected to in time")


def _connection_words(error: Exception) -> str:
    if isinstance(error, NameResolutionError):
        return "its name was not found"
    return "it can't be connected to" if isinstance(error, NewConnectionError) else f"{type(error).__name__}"


@contextmanager
def _watched(connection: HTTPConnection, seconds: float, given_up: Callable[[], bool]) -> Iterator[None]:
    """Close the connection from a thread of its own: a read that waits for a silent server can't look around."""
    plain, done, end = connection.sock, threading.Event(), time.monotonic() + seconds
    assert plain is not None
    # The connection sets its own timeout, until now that for connecting, on the socket again before it reads.
    connection.timeout = max(seconds, _LOOK_AROUND_SECONDS)
    plain.settimeout(connection.timeout)

    def watch() -> None:
        while not done.wait(_LOOK_AROUND_SECONDS):
            if time.monotonic() > end or given_up():
                try:
                    plain.shutdown(socket.SHUT_RDWR)
                except OSError:  # closed already
                    return
                return

    thread = threading.Thread(target=watch, name="provider-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _body(response: HTTPResponse, max_bytes: int) -> bytes:
    data = bytearray()
    while chunk := response.read(_CHUNK_BYTES, decode_content=False):
        data += chunk
        if len(data) > max_bytes:
            raise ValueError("the answer is too large")
    return bytes(data)
