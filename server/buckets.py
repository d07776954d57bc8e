"""Token buckets: how often an API key may ask. In memory; after a restart every bucket is full again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge_runtime.errors import AccessError
from server.keys import Rate

_MOST_KEYS: Final = 10_000
"""Of which a bucket is remembered; only valid keys have one, so this bounds the memory and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What is left in a bucket: whole requests, and the seconds until it is full, or until the next one if empty."""

    rate: Rate
    remaining: int
    full_seconds: int
    next_seconds: int

    def headers(self) -> dict[str, str]:
        """Return the fields of draft-ietf-httpapi-ratelimit-headers-11."""
        return {
            "RateLimit-Policy": f'"key";q={self.rate.count};w={self.rate.seconds}',
            "RateLimit": f'"key";r={self.remaining};t={self.full_seconds}',
        }


class RateError(AccessError):
    """A name asked more often than it may; `level` and `retry_after_seconds` say when it may again."""

    status, default_code = 429, "rate_exceeded"

    def __init__(self, level: Level) -> None:
        self.level, seconds = level, level.next_seconds
        super().__init__(
            "this API key was used too often", allowed=str(level.rate), hint=f"try again in {seconds} s"
        )
        self.retry_after_seconds = seconds


class Buckets:
    """One bucket a name, of `rate.count` requests, filling evenly. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._filled: dict[str, tuple[float, float]] = {}

    def look(self, name: str, rate: Rate) -> Level:
        """Return the level, taking nothing."""
        with self._lock:
            return self._level(rate, self._tokens(name, rate))

    def take(self, name: str, rate: Rate) -> tuple[bool, Level]:
        """Take one request out if there is one; returns whether there was, and the level after."""
        with self._lock:
            tokens = self._tokens(name, rate)
            taken = tokens >= 1
            left = tokens - taken
            self._filled.pop(name, None)  # the least used go first when there are too many
            self._filled[name] = (left, self._clock())
            if len(self._filled) > _MOST_KEYS:
                del self._filled[next(iter(self._filled))]
            return taken, self._level(rate, left)

    def _tokens(self, name: str, rate: Rate) -> float:
        now = self._clock()
        tokens, then = self._filled.get(name, (float(rate.count), now))
        return min(rate.count, tokens + (now - then) * rate.count / rate.seconds)

    @staticmethod
    def _level(rate: Rate, tokens: float) -> Level:
        pace = rate.seconds / rate.count
        return Level(
            rate=rate, remaining=math.floor(tokens), full_seconds=math.ceil((rate.count - tokens) * pace),
            next_seconds=max(1, math.ceil((1 - tokens) * pace)),
        )
