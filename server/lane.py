"""The inference lane: one edit runs, a bounded number waits in order of arrival, the rest is refused at once.

A request first takes a place (so that refusing costs nothing), reads and fetches its input on its own thread,
and then waits for its turn. Who is refused is told when to come back, and a place is kept for it then (`promises`).
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from edge_runtime.errors import AbandonedError, BusyError
from edge_runtime.pace import Pace
from server.promises import Promises

_LOOK_AROUND_SECONDS: Final = 0.25
_MEMORY: Final = 0.8
_LEAST_SECONDS: Final = 1e-3
_TURN: Final = "turn"
_REST: Final = 0.1
"""Of a run that takes longer than it should have: it is taken to need this share of the time once more."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    seconds: float
    promised: bool = False


class Lane:
    """One runs, at most `max_waiting` wait, each at most `max_wait_seconds`. Safe for use from many threads."""

    def __init__(self, max_waiting: int, max_wait_seconds: float) -> None:
        self._max_places = max_waiting + 1
        self._max_wait_seconds = max_wait_seconds
        self._changed = threading.Condition()
        self._places = 0
        self._line: deque[_Ticket] = deque()
        self._running: _Ticket | None = None
        self._started = 0.0
        self._draining = False
        self._seconds_per_turn = 0.5
        self._promises, self._pace = Promises(), Pace()

    @property
    def waiting(self) -> int:
        """Return how many requests hold a place and don't run."""
        with self._changed:
            return self._places - self.running

    @property
    def running(self) -> int:
        """Return 1 while a request has its turn, else 0."""
        return int(self._running is not None)

    @property
    def wait_seconds(self) -> float:
        """Return how long a newcomer would wait for its turn, after those in line and those who are expected back."""
        with self._changed:
            wait = self._wait_seconds()
            expected = self._promises.expected(time.monotonic(), wait + self._seconds_per_turn)
            return self._caution() * (wait + expected * self._seconds_per_turn)

    @property
    def promised_wait_seconds(self) -> float:
        """Return how long one who was promised a place would wait: it goes before all who were not."""
        with self._changed:
            return self._wait_seconds(promised=True)

    @property
    def obstacle(self) -> str | None:
        """Return why a request would be refused now, or None."""
        with self._changed:
            return self._obstacle("")

    @property
    def draining(self) -> bool:
        """Say whether the server is shutting down."""
        return self._draining

    def drain(self) -> None:
        """Refuse newcomers from now on; those that hold a place are still served."""
        with self._changed:
            self._draining = True

    @contextmanager
    def place(self, client: str = "") -> Iterator[bool]:
        """Hold one of the places, and yield whether `client` had been promised it.

        Raises BusyError when there is none.
        """
        with self._changed:
            if obstacle := self._obstacle(client):
                raise self._busy(obstacle, client)
            promised = self._promises.is_due(client, time.monotonic())
            self._promises.keep(client)
            self._places += 1
        try:
            yield promised
        finally:
            with self._changed:
                self._places -= 1

    def come_back(self, client: str, wait_seconds: float) -> int:
        """Return in how many seconds a client shall come back that must not wait for longer than it said.

        No place is kept for one without a name.
        """
        if not client:
            return max(1, math.ceil(wait_seconds))
        with self._changed:
            return self._promises.make(client, time.monotonic(), wait_seconds, self._seconds_per_turn)

    def needs_none(self, client: str) -> None:
        """Take a promise back from a client that was served in another way."""
        with self._changed:
            self._promises.drop(client)

    @contextmanager
    def turn(
        self, abandoned: Callable[[], bool], seconds: float | None = None, promised: bool = False
    ) -> Iterator[float]:
        """Wait until it is our turn, run alone, and yield the seconds waited.

        `seconds` is how long it will run, if that is known; `promised`: it came back as it was told. Raises BusyError
        after `max_wait_seconds`, AbandonedError when `abandoned` says that nobody waits any more.
        """
        began = time.monotonic()
        expected = max(seconds or self._seconds_per_turn, _LEAST_SECONDS)
        self._wait(began + self._max_wait_seconds, abandoned, _Ticket(expected, promised))
        started = time.monotonic()
        try:
            yield started - began
        finally:
            with self._changed:
                self._running = None
                took = time.monotonic() - started
                self._pace.learn(_TURN, 1, 1, took / expected)
                self._seconds_per_turn = _MEMORY * self._seconds_per_turn + (1 - _MEMORY) * took
                self._changed.notify_all()

    def _wait(self, deadline: float, abandoned: Callable[[], bool], ticket: _Ticket) -> None:
        with self._changed:
            before = [other for other in self._line if other.promised or not ticket.promised]
            self._line.insert(len(before), ticket)
            try:
                while self._running or self._line[0] is not ticket:
                    self._changed.wait(_LOOK_AROUND_SECONDS)
                    if time.monotonic() > deadline:
                        raise self._busy("this edit waited too long for its turn")
                    if abandoned():
                        break
                if abandoned():
                    raise AbandonedError("the client closed the connection before its edit began")
                self._running, self._started = ticket, time.monotonic()
            finally:
                self._line.remove(ticket)
                self._changed.notify_all()

    def _caution(self) -> float:
        """Return by what factor turns take longer than was expected, with room for their ups and downs."""
        return (self._pace.predict(_TURN, 1) or 1.0) * self._pace.margin(_TURN)

    def _wait_seconds(self, promised: bool = False) -> float:
        rest = 0.0
        if self._running is not None:
            usual = self._running.seconds
            rest = max(usual - (time.monotonic() - self._started), _REST * usual)
        return rest + sum(ticket.seconds for ticket in self._line if ticket.promised or not promised)

    def _obstacle(self, client: str) -> str | None:
        """Return why a client gets no place. Half of them are anybody's, the others may be kept for who comes back."""
        if self._draining:
            return "the server is shutting down"
        now, free_for_all = time.monotonic(), self._max_places
        if not (client and self._promises.is_due(client, now)):
            kept = self._promises.expected(now, (self._places + 1) * self._seconds_per_turn)
            free_for_all = max((self._max_places + 1) // 2, self._max_places - round(kept))
        if self._places >= free_for_all:
            return "too many edits are waiting already"
        return None

    def _busy(self, why: str, client: str = "") -> BusyError:
        if client and not self._draining:
            wait_seconds = min(self._seconds_per_turn, self._wait_seconds())
            seconds = self._promises.make(client, time.monotonic(), wait_seconds, self._seconds_per_turn)
        else:
            seconds = min(60, max(1, math.ceil(self._wait_seconds())))
        error = BusyError(why, hint=f"try again in {seconds} s")
        error.retry_after_seconds = seconds
        return error
