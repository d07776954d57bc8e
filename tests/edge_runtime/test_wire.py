"""One request on one connection, within its bounds. Against a real server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from edge_runtime.wire import Call, LostError, UnreachedError, sent_and_answered
from tests.providers.origin import Asked, Origin, Reply, started


@pytest.fixture
def origin() -> Iterator[Origin]:
    replies = {
        "/large": Reply(body=b"x" * 5000), "/moved": Reply(302, b"", {"Location": "/elsewhere"}),
        "/slow?a=1": Reply(body=b"late", seconds=5), "/half": Reply(body=b"x" * 100, cut=True),
    }  # fmt: skip

    def answer(server: Origin, asked: Asked) -> Reply:
        return replies.get(asked.path, Reply(404, {"path": asked.path}))

    with started(answer) as server:
        yield server


def get(url: str, seconds: float = 5.0, most: int = 10_000, gone: bool = False) -> object:
    return sent_and_answered(Call("GET", url, headers={"X-Key": "k"}), seconds, most, lambda: gone)


def test_answers_are_answers_whatever_they_say(origin: Origin) -> None:
    assert get(f"{origin.url}/none").status == 404
    moved = get(f"{origin.url}/moved")
    assert moved.status == 302 and moved.headers["location"] == "/elsewhere"
    assert [one.path for one in origin.asked] == ["/none", "/moved"], "a redirect would get the key"
    assert origin.asked[0].headers["x-key"] == "k" and "X-Key" not in repr(Call("GET", "/", headers={"X-Key": "k"}))


@pytest.mark.parametrize("path", ["/large", "/half"])
def test_answers_that_are_not_whole(origin: Origin, path: str) -> None:
    with pytest.raises(LostError):
        get(origin.url + path, most=1000)


@pytest.mark.parametrize(("seconds", "patience"), [(0.3, 9.0), (9.0, 0.3)])
def test_the_bounds_hold_while_the_server_is_silent(origin: Origin, seconds: float, patience: float) -> None:
    began = time.monotonic()
    call = Call("GET", f"{origin.url}/slow?a=1")
    with pytest.raises(LostError):
        sent_and_answered(call, seconds, 1000, lambda: time.monotonic() - began > patience)
    assert time.monotonic() - began < 1.0 and origin.left.wait(2)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/", "http://nobody.invalid/", "https://127.0.0.1:9/", "http://[::1]:9/x"]
)
def test_nobody_there(url: str) -> None:
    with pytest.raises(UnreachedError):
        get(url)


def test_a_server_without_encryption_at_an_address_with(origin: Origin) -> None:
    with pytest.raises(UnreachedError):
        get(origin.url.replace("http:", "https:"))


@pytest.mark.parametrize("bounds", [{"seconds": 0.3}, {"gone": True}])
def test_a_name_server_that_is_silent(monkeypatch: pytest.MonkeyPatch, bounds: dict[str, object]) -> None:
    """There is none that hangs at hand; the look-up is the system's, so it is held up where Python calls it."""
    released = threading.Event()

    def silent(*arguments: object, **options: object) -> list[object]:
        released.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    began = time.monotonic()
    with pytest.raises(UnreachedError, match="in time"):
        get("http://gpu.example.com/v1", **bounds)
    assert time.monotonic() - began < 1.0
    released.set()
