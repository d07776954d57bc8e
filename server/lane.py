"""The inference lane: one edit runs, a bounded number waits in order of arrival, the rest is refused at once.

A request first takes a place (so that refusing costs nothing), reads and fetches its input on its own thread,
and then waits for its turn.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_runtime.errors import AbandonedError, BusyError

_LOOK_AROUND_SECONDS = 0.25
_MEMORY = 0.8


class Lane:
    """One runs, at most `max_waiting` wait, each at most `max_wait_seconds`. Safe for use from many threads."""

    def __init__(self, max_waiting: int, max_wait_seconds: float) -> None:
        self._max_places = max_waiting + 1
        self._max_wait_seconds = max_wait_seconds
        self._changed = threading.Condition()
        self._places = 0
        self._line: deque[object] = deque()
        self._running = False
        self._draining = False
        self._seconds_per_turn = 0.5

    @property
    def waiting(self) -> int:
        """Return how many requests hold a place and don't run."""
        with self._changed:
            return self._places - self._running

    @property
    def running(self) -> int:
        """Return 1 while a request has its turn, else 0."""
        return int(self._running)

    @property
    def wait_seconds(self) -> float:
        """Return how long a newcomer would wait for its turn, from what turns took before."""
        with self._changed:
            return (len(self._line) + self._running) * self._seconds_per_turn

    @property
    def obstacle(self) -> str | None:
        """Return why a request would be refused now, or None."""
        with self._changed:
            return self._obstacle()

    @property
    def draining(self) -> bool:
        """Say whether the server is shutting down."""
        return self._draining

    def drain(self) -> None:
        """Refuse newcomers from now on; those that hold a place are still served."""
        with self._changed:
            self._draining = True

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places; raises BusyError when there is none."""
        with self._changed:
            if obstacle := self._obstacle():
                raise self._busy(obstacle)
            self._places += 1
        try:
            yield
        finally:
            with self._changed:
                self._places -= 1

    @contextmanager
    def turn(self, abandoned: Callable[[], bool]) -> Iterator[float]:
        """Wait until it is our turn, run alone, and yield the seconds waited.

        Raises BusyError after `max_wait_seconds`, AbandonedError when `abandoned` says that nobody waits any more.
        """
        began = time.monotonic()
        self._wait(began + self._max_wait_seconds, abandoned)
        started = time.monotonic()
        try:
            yield started - began
        finally:
            with self._changed:
                self._running = False
                took = time.monotonic() - started
                self._seconds_per_turn = _MEMORY * self._seconds_per_turn + (1 - _MEMORY) * took
                self._changed.notify_all()

    def _wait(self, deadline: float, abandoned: Callable[[], bool]) -> None:
        ticket = object()
        with self._changed:
            self._line.append(ticket)
            try:
                while self._running or self._line[0] is not ticket:
                    self._changed.wait(_LOOK_AROUND_SECONDS)
                    if time.monotonic() > deadline:
                        raise self._busy("this edit waited too long for its turn")
                    if abandoned():
                        break
                if abandoned():
                    raise AbandonedError("the client closed the connection before its edit began")
                self._running = True
            finally:
                self._line.remove(ticket)
                self._changed.notify_all()

    def _obstacle(self) -> str | None:
        if self._draining:
            return "the server is shutting down"
        if self._places >= self._max_places:
            return "too many edits are waiting already"
        return None

    def _busy(self, why: str) -> BusyError:
        seconds = min(60, max(1, math.ceil(self._places * self._seconds_per_turn)))
        error = BusyError(why, hint=f"try again in {seconds} s")
        error.retry_after_seconds = seconds
        return error
