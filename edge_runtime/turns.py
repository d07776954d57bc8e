"""Where edits wait for their turn: the seam between the service and whatever admits requests."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Queue(Protocol):
    """Where local edits wait for their turn. A server has one; whoever edits alone needs none."""

    @property
    def wait_seconds(self) -> float:
        """Return how long a newcomer would wait."""

    def turn(self, seconds: float | None = None) -> AbstractContextManager[None]:
        """Wait for the turn, and hold it; `seconds` is how long, if that is known."""

    def away(self) -> AbstractContextManager[None]:
        """Leave the queue, for an edit that a provider does."""


class NoQueue:
    """Nobody else edits here."""

    wait_seconds = 0.0

    def turn(self, seconds: float | None = None) -> AbstractContextManager[None]:
        """Begin at once."""
        return nullcontext()

    def away(self) -> AbstractContextManager[None]:
        """Go at once."""
        return nullcontext()
