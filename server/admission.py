"""What a request holds while it is answered: a place in the lane, or one among those whose edit a provider does.

A request comes in by the lane, or, when that is full, by the other places: then nothing is done here for it, but it
may still go to a provider. One that goes to a provider gives up its place in the lane: it doesn't burden this machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from edge_runtime.errors import BusyError
from server.caller import ANYBODY
from server.lane import Lane
from server.tracing import UNTRACED, Trace


class Places:
    """A bounded number of places. Safe for use from many threads."""

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most) if most else None

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places; raises BusyError when there is none."""
        if self._free is None or not self._free.acquire(blocking=False):
            raise BusyError("providers work on as many edits as may leave at once", hint="try again in a second")
        try:
            yield
        finally:
            self._free.release()


class Admission:
    """One request's way through the server. `abandoned` says that nobody waits for it any more, `caller` whose it is.

    Used by one thread at a time; whoever holds it must `leave`.
    """

    def __init__(self, lane: Lane, outgoing: Places, abandoned: Callable[[], bool], client: str = "") -> None:
        self._lane, self._outgoing, self.abandoned, self._client = lane, outgoing, abandoned, client
        self.began = time.monotonic()
        """When the request came: its deadline counts from here."""
        self._here, self._away = ExitStack(), ExitStack()
        self._is_here = self._is_away = self._is_promised = False
        self.caller = ANYBODY
        self.trace: Trace = UNTRACED
        self.waited_seconds: float | None = None
        """How long the edit waited for its turn; None if it needed none."""

    def enter(self) -> None:
        """Take a place; raises BusyError when there is none."""
        try:
            self._come_in()
        except BusyError as error:
            if self._lane.draining:
                raise
            try:
                self._go_out()
            except BusyError:
                raise error from None
            self._lane.needs_none(self._client)

    def leave(self) -> None:
        """Give up what is held."""
        self._here.close()
        self._away.close()

    @property
    def wait_seconds(self) -> float:
        """Return how long this one would wait for the turn."""
        return self._lane.promised_wait_seconds if self._is_promised else self._lane.wait_seconds

    def promise(self, wait_seconds: float) -> int:
        """Return in how many seconds to come back, for one who can't wait as long as it would have to."""
        return self._lane.come_back(self._client, wait_seconds)

    @contextmanager
    def turn(self, seconds: float | None = None) -> Iterator[None]:
        """Wait for the turn, and hold it; raises BusyError or AbandonedError."""
        self._come_in()
        with self._lane.turn(self.abandoned, seconds, self._is_promised) as waited_seconds:
            self.waited_seconds = waited_seconds
            yield

    @contextmanager
    def away(self) -> Iterator[None]:
        """Let a provider work; raises BusyError when too many do so already."""
        self._go_out()
        self._here.close()
        self._is_here = False
        yield

    def _come_in(self) -> None:
        if not self._is_here:
            self._is_promised = self._here.enter_context(self._lane.place(self._client)) or self._is_promised
            self._is_here = True

    def _go_out(self) -> None:
        if not self._is_away:
            self._away.enter_context(self._outgoing.place())
            self._is_away = True
