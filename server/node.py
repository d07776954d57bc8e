"""What the routes share: the edit service, the lane in front of it, the metrics and the configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask import current_app, request

from edge_runtime.plan import Plan
from edge_runtime.request import EditRequest, EditResult
from server.config import ServerConfig
from server.lane import Lane
from server.metrics import Metrics

if TYPE_CHECKING:
    from edge_runtime.service import EditService


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One per application, under `app.extensions["nanoedge"]`."""

    service: EditService
    lane: Lane
    metrics: Metrics
    config: ServerConfig

    def edit(self, build: Callable[[], EditRequest]) -> EditResult:
        """Take a place in the lane, read the input with `build`, wait for the turn and edit.

        The input is read only once there is a place for it: refusing must stay cheap.
        """
        with self.lane.place():
            wanted = build()
            with self.lane.turn(_client_left()) as waited_seconds:
                result = self.service.edit(wanted)
        self.metrics.edited(result, waited_seconds)
        return result

    def plan(self, instruction: str, model: str) -> Plan:
        """Say what an instruction means; it takes its turn like an edit."""
        with self.lane.place(), self.lane.turn(_client_left()):
            return self.service.plan(instruction, model)


def current_node() -> Node:
    """Return the node of the application that answers the current request."""
    return cast(Node, current_app.extensions["nanoedge"])


def _client_left() -> Callable[[], bool]:
    """Return a question for the WSGI server; waitress alone can answer it, elsewhere it is always no."""
    return cast("Callable[[], bool]", request.environ.get("waitress.client_disconnected", lambda: False))
