"""What the routes share: the edit service, the lane in front of it, the metrics and the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask import current_app, request

from edge_runtime.plan import Plan
from edge_runtime.request import EditRequest, EditResult
from edge_runtime.route import Route
from server.config import ServerConfig
from server.lane import Lane
from server.metrics import Metrics

if TYPE_CHECKING:
    from edge_runtime.service import EditService


class Turns:
    """The lane as one edit sees it: how long it would wait, its turn, and how long it waited for it.

    An edit that a provider does takes no turn.
    """

    def __init__(self, lane: Lane, abandoned: Callable[[], bool]) -> None:
        self._lane, self._abandoned = lane, abandoned
        self.waited_seconds: float | None = None

    @property
    def wait_seconds(self) -> float:
        """Return how long a newcomer would wait."""
        return self._lane.wait_seconds

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn, and hold it; raises BusyError or AbandonedError."""
        with self._lane.turn(self._abandoned) as waited_seconds:
            self.waited_seconds = waited_seconds
            yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One per application, under `app.extensions["nanoedge"]`."""

    service: EditService
    lane: Lane
    metrics: Metrics
    config: ServerConfig

    def edit(self, build: Callable[[], EditRequest]) -> EditResult:
        """Take a place in the lane, read the input with `build`, and edit where the route says.

        The input is read only once there is a place for it: refusing must stay cheap.
        """
        with self.lane.place():
            return self.edited(build(), client_left())

    def edited(self, wanted: EditRequest, abandoned: Callable[[], bool]) -> EditResult:
        """Edit for a request that holds a place already."""
        queue = Turns(self.lane, abandoned)
        result = self.service.edit(wanted, queue, abandoned)
        self.metrics.edited(result, queue.waited_seconds)
        return result

    def preview(self, wanted: EditRequest, abandoned: Callable[[], bool]) -> EditResult | None:
        """Return the small model's early picture for a request that holds a place; it takes its turn like an edit."""
        with self.lane.turn(abandoned):
            return self.service.preview(wanted)

    def route(self, build: Callable[[], EditRequest]) -> Route:
        """Decide who would do an edit."""
        with self.lane.place():
            return self.decided(build())

    def decided(self, wanted: EditRequest) -> Route:
        """Decide for a request that holds a place already."""
        return self.service.route(wanted, self.lane.wait_seconds)

    def plan(self, instruction: str, model: str) -> Plan:
        """Say what an instruction means; it takes its turn like an edit."""
        with self.lane.place(), self.lane.turn(client_left()):
            return self.service.plan(instruction, model)


def current_node() -> Node:
    """Return the node of the application that answers the current request."""
    return cast(Node, current_app.extensions["nanoedge"])


def client_left() -> Callable[[], bool]:
    """Return a question for the WSGI server; waitress alone can answer it, elsewhere it is always no."""
    return cast("Callable[[], bool]", request.environ.get("waitress.client_disconnected", lambda: False))
