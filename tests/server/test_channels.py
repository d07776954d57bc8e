"""Connections: who goes first in waitress' line of requests. What they do over a wire: test_keys_started.py."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.channels import HealthFirst


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
