"""The seam for traces: what the server tells of each request. Nothing of it is done unless a tracer is configured.

A tracer is a file in `server/tracers` that exposes `TRACER`, which makes a `Tracing` from an address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edge_runtime.request import EditResult


class Trace(Protocol):
    """One request."""

    def edited(self, result: EditResult, waited_seconds: float | None) -> None:
        """Note a finished edit: how long it waited for its turn, and its stages. From any thread."""

    def ended(self, status: int) -> None:
        """Note that the answer is complete."""


class Tracing(Protocol):
    """All requests of a node."""

    def begin(self, method: str, route: str, request_id: str, headers: Mapping[str, str]) -> Trace:
        """Begin a request; its headers may name the trace that it belongs to."""

    def close(self) -> None:
        """Send what is left."""


class Untraced:
    """Tells nobody: a tracing and each of its traces."""

    def begin(self, method: str, route: str, request_id: str, headers: Mapping[str, str]) -> Trace:
        """Begin nothing."""
        return self

    def edited(self, result: EditResult, waited_seconds: float | None) -> None:
        """Note nothing."""

    def ended(self, status: int) -> None:
        """Note nothing."""

    def close(self) -> None:
        """Send nothing."""


UNTRACED = Untraced()
