"""A circuit breaker: leaves a provider alone that fails again and again. A state machine over a clock that is given.

It opens after 3 failures in a row, or when half of at least 5 answers of the last minute failed. After 5 seconds one
request may probe: if that fails too, it waits twice as long, up to 5 minutes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final

FAILURES_IN_A_ROW: Final = 3
WINDOW_SECONDS: Final = 60.0
WINDOW_LEAST: Final = 5
WINDOW_SHARE: Final = 0.5
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 300.0


class BreakerState(str, Enum):
    """closed: requests go through; open: none; probing: one may go, or is out, to see; forbidden: open for good."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"
    FORBIDDEN = "forbidden"


class Breaker:
    """Of one provider. Whoever was admitted must report once: succeeded, failed, dismissed or forbidden.

    Safe for use from many threads. `clock` returns seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: deque[tuple[float, bool]] = deque()
        self._in_a_row = 0
        self._pause_seconds = 0.0  # 0: closed
        self._opened_at = 0.0
        self._probe_out = False
        self._forbidden = False

    @property
    def state(self) -> BreakerState:
        """Return what would happen to a request now; probing as long as it may be, or is, the probe."""
        with self._lock:
            return self._state()

    @property
    def wait_seconds(self) -> float:
        """Return how long the breaker stays open at least; 0 unless it is open."""
        with self._lock:
            return self._left() if self._state() is BreakerState.OPEN else 0.0

    def admit(self) -> bool:
        """Say whether a request may go; as the probe if the breaker's pause is over."""
        with self._lock:
            state = self._state()
            if state is BreakerState.PROBING and not self._probe_out:
                self._probe_out = True
                return True
            return state is BreakerState.CLOSED

    def succeeded(self) -> None:
        """Take note of an answer; closes the breaker if this was the probe."""
        with self._lock:
            self._record(True)
            self._in_a_row = 0
            if self._probe_out:
                self._probe_out, self._pause_seconds = False, 0.0
                self._answers.clear()

    def failed(self) -> None:
        """Take note of a failure; opens the breaker when there were too many, or if this was the probe."""
        with self._lock:
            self._record(False)
            self._in_a_row += 1
            if self._probe_out:
                self._open(min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS))
            elif self._pause_seconds == 0 and self._too_many():
                self._open(FIRST_PAUSE_SECONDS)

    def dismissed(self) -> None:
        """Take note that a request ended without saying anything about the provider: given up, or told to wait."""
        with self._lock:
            self._probe_out = False

    def forbidden(self) -> None:
        """Open for good: the provider doesn't accept the key, which no waiting changes."""
        with self._lock:
            self._forbidden, self._probe_out = True, False

    def _state(self) -> BreakerState:
        if self._forbidden:
            return BreakerState.FORBIDDEN
        if self._pause_seconds == 0:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._left() > 0 else BreakerState.PROBING

    def _left(self) -> float:
        return max(0.0, self._opened_at + self._pause_seconds - self._clock())

    def _open(self, pause_seconds: float) -> None:
        self._pause_seconds, self._opened_at, self._probe_out = pause_seconds, self._clock(), False

    def _record(self, good: bool) -> None:
        now = self._clock()
        self._answers.append((now, good))
        while self._answers[0][0] < now - WINDOW_SECONDS:
            self._answers.popleft()

    def _too_many(self) -> bool:
        bad = sum(not good for _, good in self._answers)
        half = len(self._answers) >= WINDOW_LEAST and bad >= WINDOW_SHARE * len(self._answers)
        return self._in_a_row >= FAILURES_IN_A_ROW or half
