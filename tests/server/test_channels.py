"""Connections: who goes first, in the line and in a round. What they do over a wire: test_keys_started.py."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import create_server

from server.access import Access
from server.channels import Dispatcher, HealthFirst, channel_class
from server.entrance import Entrance
from server.rounds import Rounds

THREADS = 2
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
OTHER = HEALTH.replace(b"healthz", b"other")


@dataclass
class Channel:
    """A connection as the line sees it."""

    requests: list[object] = field(default_factory=list)


@dataclass
class Request:
    path: str


def test_health_checks_go_first_and_the_rest_in_order() -> None:
    line = HealthFirst()
    assert not line
    channels = [Channel([Request(path)]) for path in ("/edit", "/healthz", "/v1/models", "/readyz", "/healthz/x")]
    for channel in channels:
        line.append(channel)
    assert len(line) == 5
    order = []
    while line:
        order.append(line.popleft().requests[0].path)
    assert order == ["/healthz", "/readyz", "/edit", "/v1/models", "/healthz/x"]
    for odd in (Channel(), Channel([object()])):  # one that was lost meanwhile, one that couldn't be parsed
        line.append(odd)
        assert len(line) == 1 and line.popleft() is odd


@contextmanager
def waitress(application: Callable[..., Iterable[bytes]], channel: type) -> Iterator[tuple[Rounds, Callable[[], Any]]]:
    """Rounds over a listening server, and what opens a connection to it."""
    channels: dict[int, Any] = {}
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)
    dispatcher = Dispatcher(THREADS)
    server = create_server(application, map=channels, sockets=[listening], _dispatcher=dispatcher)
    server.channel_class = channel
    opened: list[socket.socket] = []

    def connect() -> socket.socket:
        opened.append(socket.create_connection(listening.getsockname(), 10))
        return opened[-1]

    try:
        yield Rounds(server, channels), connect
    finally:
        dispatcher.shutdown(timeout=10)
        for one in [*opened, *list(channels.values())]:
            one.close()


def test_health_is_answered_while_every_thread_is_held() -> None:
    released, held = threading.Event(), threading.Semaphore(0)

    def application(environment: dict[str, Any], start: Callable[..., object]) -> list[bytes]:
        if environment["PATH_INFO"] != "/healthz":
            held.release()
            assert released.wait(20)
        start("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with waitress(application, channel_class(Entrance(Access(None), 1000))) as (rounds, connect):
        for _ in range(THREADS):
            connect().sendall(OTHER)
            rounds.once(5)
        assert all(held.acquire(timeout=10) for _ in range(THREADS))
        asking = connect()
        asking.sendall(HEALTH * 2)  # only the first at once: one read must not keep the loop
        rounds.once(5)
        answered = asking.recv(10_000)
        assert answered.startswith(b"HTTP/1.1 200") and answered.count(b"HTTP/1.1") == 1
        released.set()
        rest = b""
        while not rest.endswith(b"ok"):
            rest += asking.recv(10_000)


def test_who_is_new_is_read_before_the_round_is_over() -> None:
    order: list[str] = []

    class Slow(HTTPChannel):
        def handle_read(self) -> None:
            said = self.recv(100).decode()
            order.append(said)
            if said == "0":
                connect().sendall(b"new")
            threading.Event().wait(0.006)

    with waitress(lambda environment, start: [], Slow) as (rounds, connect):
        busy = [connect() for _ in range(8)]
        rounds.once(5)  # lets all in
        for place, one in enumerate(busy):
            one.sendall(str(place).encode())
        rounds.once(5)
    assert sorted(order) == [*"01234567", "new"]
    assert order.index("new") < 4, order
