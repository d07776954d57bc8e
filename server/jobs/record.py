"""What a job's row keeps of a provider that was asked: the record that the edit service tells."""

from __future__ import annotations

from edge_runtime.receipts import Receipt
from server.jobs.job import Job
from server.jobs.store import JobStore


class JobRecord:
    """The record of one job while `owner` has its lease. Used by one thread."""

    def __init__(self, store: JobStore, job: Job, owner: str, receipt: Receipt | None) -> None:
        self._store, self._job, self._owner = store, job, owner
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
        self._store.taken(self._job, receipt)
        self.held = True

    def released(self) -> None:
        """Keep it; raises RepeatError when the job is no longer ours to do."""
        self._store.released(self._job.id, self._owner)
        self.held = False
