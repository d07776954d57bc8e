"""What the routes share: the edit service, the lane in front of it, the metrics and the configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from flask import current_app, g, request

from edge_runtime.errors import RouteQueueError
from edge_runtime.plan import Plan
from edge_runtime.receipts import NoRecord, Receipt, Record
from edge_runtime.request import HOPS_HEADER, EditRequest, EditResult
from edge_runtime.route import Route
from server.access import Access
from server.admission import Admission, Places
from server.caller import caller
from server.config import ServerConfig
from server.lane import Lane
from server.metrics import Metrics
from server.results import Results
from server.tracing import UNTRACED, Tracing

if TYPE_CHECKING:
    from edge_runtime.service import EditService
    from server.store_watch import StoreWatch

_NO_RECORD: Final = NoRecord()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One per application, under `app.extensions["nanoedge"]`."""

    service: EditService
    lane: Lane
    outgoing: Places
    metrics: Metrics
    access: Access
    tracing: Tracing
    config: ServerConfig
    results: Results
    watch: StoreWatch | None = None

    @contextmanager
    def admission(self) -> Iterator[Admission]:
        """Hold a place for the current request, whose input is read only then; raises BusyError."""
        admission = Admission(self.lane, self.outgoing, _client_left(), _client())
        admission.caller, admission.trace = caller(), g.get("trace", UNTRACED)
        admission.enter()
        try:
            yield admission
        finally:
            admission.leave()

    def job_admission(self, caller: str, abandoned: Callable[[], bool]) -> Admission:
        """Return the way through the server for a job of `caller`, which has no request; it holds nothing yet."""
        admission = Admission(self.lane, self.outgoing, abandoned)
        admission.caller = caller
        return admission

    def edit(self, build: Callable[[], EditRequest]) -> EditResult:
        """Take a place, read the input with `build`, and edit where the route says."""
        with self.admission() as admission:
            return self.edited(build(), admission, admission.abandoned)

    def edited(
        self, wanted: EditRequest, admission: Admission, abandoned: Callable[[], bool], record: Record = _NO_RECORD
    ) -> EditResult:
        """Edit for a request that holds a place already; a job has a record."""
        wanted = wanted.with_less_time(time.monotonic() - admission.began)
        try:
            result = self.access.edited(
                wanted, admission.caller, self.service,
                lambda allowed: self.service.edit(allowed, admission, abandoned, record), record,
            )
        except RouteQueueError as error:
            error.retry_after_seconds = admission.promise(error.retry_after_seconds or 0)
            raise
        self.metrics.edited(result, admission.waited_seconds)
        admission.trace.edited(result, admission.waited_seconds)
        return result

    def resumed(
        self, provider: str, receipt: Receipt | None, wanted: EditRequest, admission: Admission, record: Record
    ) -> EditResult:
        """Go on with a job's edit that a provider was asked for before."""
        with admission.away() if provider in self.service.remotes else nullcontext():
            result = self.access.resumed(
                admission.caller,
                lambda: self.service.resumed(provider, receipt, wanted, admission.abandoned, record), record,
            )
        self.metrics.edited(result, None)
        return result

    def preview(self, wanted: EditRequest, needless: Callable[[], bool]) -> EditResult | None:
        """Return the small model's early picture; it takes a place and a turn like an edit, or raises BusyError."""
        with self.lane.place(), self.lane.turn(needless):
            return self.service.preview(wanted)

    def route(self, wanted: EditRequest) -> Route:
        """Decide who would do an edit of the current request."""
        with self.access.patience(caller()):
            return self.service.route(self.access.bounded(wanted, caller()), self.lane.wait_seconds)

    def plan(self, instruction: str, model: str) -> Plan:
        """Say what an instruction means; it takes its turn like an edit."""
        with self.lane.place(), self.lane.turn(_client_left()):
            return self.service.plan(instruction, model)


def current_node() -> Node:
    """Return the node of the application that answers the current request."""
    return cast(Node, current_app.extensions["nanoedge"])


def _client() -> str:
    """Return what tells a client that comes back from others: its idempotency key, or what its headers say else.

    Nothing for what another node passed on: that finds another way, and a place would be kept for nobody.
    """
    if request.headers.get(HOPS_HEADER, "0") != "0":
        return ""
    key = request.headers.get("Idempotency-Key")
    return f"{caller()} {key or f'{request.remote_addr} {request.path} {request.content_length}'}"[:300]


def _client_left() -> Callable[[], bool]:
    """Return a question for the WSGI server; waitress alone can answer it, elsewhere it is always no."""
    return cast("Callable[[], bool]", request.environ.get("waitress.client_disconnected", lambda: False))
