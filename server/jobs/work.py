"""One claimed job from its parts to its end: edited where the route says, or fetched from the provider that has it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from edge_runtime.errors import (
    AbandonedError,
    BusyError,
    EngineError,
    FullError,
    NanoedgeError,
    ProviderBusyError,
    RouteCapacityError,
    RouteDeadlineError,
)
from edge_runtime.request import EditRequest, EditResult
from server.admission import Admission
from server.edits import described
from server.jobs.job import Job, Outcome, State, Wanted
from server.jobs.patience import kept
from server.jobs.record import JobRecord
from server.jobs.store import JobStore
from server.node import Node
from server.problems import UNEXPECTED, logged, message
from server.shelf import stored

logger = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 3
PATIENCE_SECONDS: Final = 3600.0
"""How long a job is tried again while there is no capacity, or the provider that has it doesn't answer."""

_PAUSE_SECONDS: Final = 3
_LONGEST_PAUSE_SECONDS: Final = 60.0
_LATER: Final = (BusyError, ProviderBusyError, RouteCapacityError, FullError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Does jobs for one process, called `owner` in their leases. Safe to share between threads."""

    node: Node
    store: JobStore
    owner: str
    clock: Callable[[], float] = time.time

    def do(self, job: Job, cancelled: Callable[[], bool], stopping: Callable[[], bool] = lambda: False) -> None:
        """Bring a claimed job to its end, or put it back. `cancelled` is asked often.

        Where there is no room for how it ended, that waits for some, unless the server is `stopping`.
        """
        def given_up() -> bool:
            return cancelled() or stopping()

        try:
            record = JobRecord(self.store, job, self.owner, self.store.receipt(job), given_up)
            outcome = self._outcome(job, record, cancelled)
        except AbandonedError:
            return
        except Exception as error:  # noqa: BLE001 - the boundary of this thread: what it met is told in the job
            logged(error, job.id)
            outcome = _failed(error)
        kept(lambda: self._end(job, outcome), given_up, job.id)

    def _end(self, job: Job, outcome: Outcome | float) -> None:
        if isinstance(outcome, float):
            self.store.put_back(job.id, self.owner, outcome)
        else:
            self.store.finish(job, self.owner, outcome)

    def _outcome(self, job: Job, record: JobRecord, cancelled: Callable[[], bool]) -> Outcome | float:
        """Return how the job ended, or in how many seconds to try again."""
        if job.attempts > MAX_ATTEMPTS and not record.held:
            return _failed(EngineError(f"the server ended {MAX_ATTEMPTS} times while it worked on this job"))
        wanted = self.store.wanted(job)
        admission = self.node.job_admission(job.caller, cancelled)
        try:
            admission.enter()
            result = self._edited(job, self._in_time(job, wanted.request, record), admission, record)
        except NanoedgeError as error:
            if self.clock() - job.created < PATIENCE_SECONDS and (record.held or isinstance(error, _LATER)):
                return min(float(error.retry_after_seconds or _PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            raise
        finally:
            admission.leave()
        return self._ready(job, wanted, result)

    def _edited(self, job: Job, request: EditRequest, admission: Admission, record: JobRecord) -> EditResult:
        if job.provider is None:
            return self.node.edited(request, admission, admission.abandoned, record)
        return self.node.resumed(job.provider, self.store.receipt(job), request, admission, record)

    def _in_time(self, job: Job, request: EditRequest, record: JobRecord) -> EditRequest:
        """Return the request with what is left of its deadline; none for one that a provider has done already."""
        if request.deadline_seconds is None or record.held:
            return replace(request, deadline_seconds=None)
        left = request.deadline_seconds - (self.clock() - job.created)
        if left <= 0:
            raise RouteDeadlineError("the deadline passed before the job's turn came", param="deadline_ms")
        return replace(request, deadline_seconds=left)

    def _ready(self, job: Job, wanted: Wanted, result: EditResult) -> Outcome:
        address, unstored = stored(self.node.results, job.caller, result, job.id) if wanted.stored else (None, ())
        told: dict[str, Any] = dict(described(result, (*result.warnings, *wanted.warnings, *unstored)))
        if result.cost_usd:
            told["cost_usd"] = result.cost_usd
        if address is not None:
            told["address"] = address
        return Outcome(state=State.READY, told=told, picture=result.image)


def _failed(error: Exception) -> Outcome:
    return Outcome(state=State.ERROR, told=_error(error))


def _error(error: Exception) -> Mapping[str, Any]:
    if isinstance(error, NanoedgeError):
        return {"status": error.status, "code": error.code, "message": message(error), "param": error.param}
    return {"status": 500, "code": "internal_error", "message": UNEXPECTED, "param": None}
