"""Waitress' event loop, one round at a time, in which a new connection doesn't wait until all others were served.

Waitress' own loop lets one connection in a round, and reads from it in the next one. A round over a hundred busy
connections takes as long as their requests wait for Python's lock: 100 ms, and a health check took two.
"""

from __future__ import annotations

import select
import time
from itertools import islice
from typing import Any, Final

from waitress import wasyncore  # type: ignore[import-untyped]

DOOR_SECONDS: Final = 0.005
"""How often a round looks who is new."""

_AT_ONCE: Final = 64
_IN: Final = getattr(select, "POLLIN", 0) | getattr(select, "POLLPRI", 0)
_OUT: Final = getattr(select, "POLLOUT", 0)


class Rounds:
    """The rounds over `channels`, by descriptor, among them the `server` that lets new ones in. For one thread."""

    def __init__(self, server: Any, channels: dict[int, Any]) -> None:
        self._server, self._channels = server, channels

    def once(self, seconds: float) -> None:
        """Serve every connection that has something, after waiting at most so long for one."""
        if not hasattr(select, "poll"):  # Windows
            wasyncore.loop(timeout=seconds, map=self._channels, count=1)
            return
        door = 0.0
        for descriptor, events in self._waited(seconds):
            if time.monotonic() >= door:
                self._let_in()
                door = time.monotonic() + DOOR_SECONDS
            channel = self._channels.get(descriptor)
            if channel is not None and channel is not self._server:
                wasyncore.readwrite(channel, events)

    def _waited(self, seconds: float) -> list[tuple[int, int]]:
        poll = select.poll()
        for descriptor, channel in list(self._channels.items()):
            events = _IN if channel.readable() else 0
            if channel.writable() and not channel.accepting:
                events |= _OUT
            if events:
                poll.register(descriptor, events)
        return poll.poll(1000 * seconds)

    def _let_in(self) -> None:
        """Accept who waits, and read what they have said already."""
        server = self._server
        before = len(server.active_channels)
        for _ in range(_AT_ONCE):
            if not (server.readable() and _said([server.socket.fileno()])):
                break
            wasyncore.read(server)
        new = islice(reversed(server.active_channels), len(server.active_channels) - before)
        for descriptor in _said(list(new)):
            wasyncore.read(self._channels[descriptor])


def _said(descriptors: list[int]) -> list[int]:
    """Return those from which something can be read now."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, _IN)
    return [descriptor for descriptor, _ in poll.poll(0)] if descriptors else []
