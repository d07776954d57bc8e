"""A circuit breaker: leaves a provider alone that fails again and again. A state machine over a clock that is given.

It opens after 3 failures in a row, or when half of at least 5 answers of the last minute failed. After 5 seconds one
request may probe: if that fails too, it waits twice as long, up to 5 minutes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Pass:
    """Lets one request through. `epoch` counts openings and closings: reports from before the last don't move it."""

    epoch: int
    probe: bool


class Breaker:
    """Of one provider. Whoever got a pass reports once with it: succeeded, failed, dismissed or forbidden.

    Safe for use from many threads. `clock` returns seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: deque[tuple[float, bool]] = deque()
        self._in_a_row = 0
        self._pause_seconds = 0.0  # 0: closed
        self._opened_at = 0.0
        self._epoch = 0
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

    def admit(self) -> Pass | None:
        """Return a pass, that of the probe if the breaker's pause is over; None when no request may go."""
        with self._lock:
            state = self._state()
            if state is BreakerState.PROBING and not self._probe_out:
                self._probe_out = True
                return Pass(self._epoch, True)
            return Pass(self._epoch, False) if state is BreakerState.CLOSED else None

    def succeeded(self, given: Pass) -> None:
        """Take note of an answer; closes the breaker if this was the probe."""
        with self._lock:
            if given.epoch != self._epoch:
                return
            self._record(True)
            self._in_a_row = 0
            if given.probe:
                self._turn(0.0)

    def failed(self, given: Pass) -> None:
        """Take note of a failure; opens the breaker when there were too many, or if this was the probe."""
        with self._lock:
            if given.epoch != self._epoch:
                return
            self._record(False)
            self._in_a_row += 1
            if given.probe:
                self._turn(min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS))
            elif self._too_many():
                self._turn(FIRST_PAUSE_SECONDS)

    def dismissed(self, given: Pass) -> None:
        """Take note that a request ended without saying anything about the provider: given up, or told to wait."""
        with self._lock:
            if given.probe and given.epoch == self._epoch:
                self._probe_out = False

    def forbidden(self) -> None:
        """Open for good: the provider doesn't accept the key, which no waiting changes."""
        with self._lock:
            self._forbidden = True

    def _state(self) -> BreakerState:
        if self._forbidden:
            return BreakerState.FORBIDDEN
        if self._pause_seconds == 0:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._left() > 0 else BreakerState.PROBING

    def _left(self) -> float:
        return max(0.0, self._opened_at + self._pause_seconds - self._clock())

    def _turn(self, pause_seconds: float) -> None:
        """Open for so long, or close for 0."""
        self._epoch += 1
        self._pause_seconds, self._opened_at, self._probe_out, self._in_a_row = pause_seconds, self._clock(), False, 0
        self._answers.clear()

    def _record(self, good: bool) -> None:
        now = self._clock()
        self._answers.append((now, good))
        while self._answers[0][0] < now - WINDOW_SECONDS:
            self._answers.popleft()

    def _too_many(self) -> bool:
        bad = sum(not good for _, good in self._answers)
        half = len(self._answers) >= WINDOW_LEAST and bad >= WINDOW_SHARE * len(self._answers)
        return self._in_a_row >= FAILURES_IN_A_ROW or half
