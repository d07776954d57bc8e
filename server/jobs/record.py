"""What a job's row keeps of a provider that was asked: the record that the edit service tells."""

from __future__ import annotations

from collections.abc import Callable

from edge_runtime.receipts import Receipt
from server.jobs.job import Job
from server.jobs.patience import kept
from server.jobs.store import JobStore


class JobRecord:
    """The record of one job while `owner` has its lease. Used by one thread.

    What a provider took must be kept, or it would be paid for twice: on a full disk that waits until `given_up`.
    """

    def __init__(
        self, store: JobStore, job: Job, owner: str, receipt: Receipt | None, given_up: Callable[[], bool]
    ) -> None:
        self._store, self._job, self._owner, self._given_up = store, job, owner, given_up
        self.held = receipt is not None

    @property
    def key(self) -> str:
        """Return the job's name: one job, one edit, however often it is submitted."""
        return self._job.id

    def asking(self, provider: str) -> None:
        """Keep it; raises RepeatError when the job is no longer ours to do."""
        self._store.asking(self._job.id, self._owner, provider)

    def taken(self, receipt: Receipt) -> None:
        """Keep it."""
        self.held = True
        kept(lambda: self._store.taken(self._job, receipt), self._given_up, self._job.id)

    def released(self) -> None:
        """Keep it; raises RepeatError when the job is no longer ours to do."""
        kept(lambda: self._store.released(self._job.id, self._owner), self._given_up, self._job.id)
        self.held = False
