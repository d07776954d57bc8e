"""Whom we told when to come back, so that a place is kept then. Times are given; no clock and no lock here.

Each promise takes the next stretch of the lane's time. A client is known by its idempotency key, or else by its address
and the length of its request. Of those that are told to come back not all do: how many is learned, and promises lie
closer for it, or the queue of those who never come would look ever longer.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

LONGEST_SECONDS: Final = 300
"""Nobody is told to come back later than this; one who would have to gets no promise."""

_SPACING: Final = 1.25
"""Turns between two promises: whole seconds make clients come in bunches, and the lane must get through each."""

_MOST: Final = 10_000
_EARLY_SECONDS: Final = 0.25
_KEPT_SECONDS: Final = 2.0
"""A place is kept for so long after the time that was told; who comes later still gets in if one is free."""

_LASTING_SECONDS: Final = 30.0
_NEWEST: Final = 0.05
_LEAST_SHARE: Final = 0.1


class Promises:
    """Promises by client. Whoever uses it holds a lock."""

    def __init__(self) -> None:
        self._due: OrderedDict[str, float] = OrderedDict()
        self._next = 0.0
        self._share = 1.0

    def make(self, client: str, now: float, wait_seconds: float, turn_seconds: float) -> int:
        """Return in how many seconds, a whole number, `client` shall come back; a place is kept for it then.

        `wait_seconds` from now there is one for the first of those who have no promise yet, and for one more each
        `turn_seconds`.
        """
        start = max(self._next, now + wait_seconds)
        seconds = max(1, math.ceil(start - now))
        if seconds > LONGEST_SECONDS:
            return LONGEST_SECONDS
        if client not in self._due and len(self._due) < _MOST:
            self._next = start + _SPACING * turn_seconds * self._share
        self._due[client] = now + seconds
        return seconds

    def is_due(self, client: str, now: float) -> bool:
        """Say whether this one was told to come back about now."""
        return now >= self._due.get(client, math.inf) - _EARLY_SECONDS

    def keep(self, client: str) -> None:
        """Take note that the client came back and got in."""
        if self._due.pop(client, None) is not None:
            self._learn(1.0)

    def drop(self, client: str) -> None:
        """Forget a promise that nobody needs any more."""
        self._due.pop(client, None)

    def expected(self, now: float, ahead_seconds: float) -> float:
        """Return how many of those who are due, or will be within `ahead_seconds`, will come."""
        self._forget(now)
        return self._share * sum(now - _KEPT_SECONDS <= due <= now + ahead_seconds for due in self._due.values())

    def _forget(self, now: float) -> None:
        for client, due in list(self._due.items()):
            if due + _LASTING_SECONDS < now:
                del self._due[client]
                self._learn(0.0)

    def _learn(self, came: float) -> None:
        self._share = max(_LEAST_SHARE, self._share + _NEWEST * (came - self._share))
