"""The threads behind jobs: one claims them, one keeps their leases and shreds what expired, each job has its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from edge_runtime.errors import NanoedgeError
from server.jobs.job import Job
from server.jobs.patience import Trouble
from server.jobs.store import LEASE_SECONDS
from server.jobs.work import Work

logger = logging.getLogger(__name__)

_IDLE_SECONDS: Final = 2.0
_RENEW_SECONDS: Final = LEASE_SECONDS / 4
_SWEEP_SECONDS: Final = 60.0
_MEMORY: Final = 0.8


class Runner:
    """Works on at most `slots` jobs at once until it is stopped. `swept` is called about once a minute."""

    def __init__(self, work: Work, slots: int, swept: Callable[[], object]) -> None:
        self._work, self._slots, self._swept = work, slots, swept
        self._running: dict[str, threading.Event] = {}
        self._changed = threading.Condition()
        self._stopping, self._news = threading.Event(), threading.Event()
        self._usual_seconds = 5.0
        self._unclaimed = Trouble(logger, "no job could be claimed")
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in ((self._dispatch, "jobs"), (self._keep, "job-leases"))
        ]

    def start(self) -> None:
        """Begin with what is kept."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look for a job now."""
        self._news.set()

    def cancel(self, name: str) -> None:
        """Give a job up that was cancelled, if it is worked on here."""
        with self._changed:
            if name in self._running:
                self._running[name].set()

    def progress(self, started: float) -> float:
        """Return the share that is done of a job that began then, judged by how long others took: 0..0.95."""
        return min(0.95, max(0.0, time.time() - started) / self._usual_seconds)

    def drain(self) -> None:
        """Claim nothing more."""
        self._stopping.set()
        self.wake()

    def stop(self, seconds: float) -> bool:
        """Wait for what is worked on, then put the rest back into the queue; false when there was any.

        What a provider has stays its own: it is polled again by whoever claims the job next.
        """
        self.drain()
        end = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: not self._running, timeout=max(0.0, end - time.monotonic()))
            left = list(self._running)
        for name in left:
            self._work.store.put_back(name, self._work.owner, 0.0)
        for thread in self._threads:
            thread.join(_IDLE_SECONDS)
        return not left

    def _dispatch(self) -> None:
        while not self._stopping.is_set():
            self._news.clear()  # before looking, so that nothing that comes meanwhile is missed
            with self._changed:
                busy_with = tuple(self._running)
            job = self._claimed(busy_with) if len(busy_with) < self._slots else None
            if job is None:
                self._news.wait(_IDLE_SECONDS)
                continue
            with self._changed:
                cancelled = self._running[job.id] = threading.Event()
            threading.Thread(target=self._do, args=(job, cancelled), name="job", daemon=True).start()

    def _claimed(self, busy_with: tuple[str, ...]) -> Job | None:
        try:
            claimed = self._work.store.claim(self._work.owner, busy_with)
        except NanoedgeError as error:
            self._unclaimed.met(error)
            return None
        self._unclaimed.over()
        return claimed

    def _do(self, job: Job, cancelled: threading.Event) -> None:
        began = time.monotonic()
        try:
            self._work.do(job, cancelled.is_set, self._stopping.is_set)
        except NanoedgeError as error:  # its lease runs out, and it is claimed again
            logger.error("the job %s could not be brought to its end: %s", job.id, error)
        finally:
            with self._changed:
                self._usual_seconds = max(
                    0.1, _MEMORY * self._usual_seconds + (1 - _MEMORY) * (time.monotonic() - began)
                )
                del self._running[job.id]
                self._changed.notify_all()
            self.wake()

    def _keep(self) -> None:
        swept, trouble = 0.0, Trouble(logger, "jobs can't be kept up")
        while not self._stopping.wait(_RENEW_SECONDS) or self._running:
            try:
                self._renew()
                if time.monotonic() - swept > _SWEEP_SECONDS:
                    self._swept()
                    swept = time.monotonic()
                trouble.over()
            except NanoedgeError as error:
                trouble.met(error)
            if self._stopping.is_set():
                time.sleep(_RENEW_SECONDS)

    def _renew(self) -> None:
        with self._changed:
            running = dict(self._running)
        for name, cancelled in running.items():
            # A job that another process claimed is let be: giving it up would take the edit back from its provider, for
            # which that process waits now. What comes of it here is dropped.
            if not self._work.store.renew(name, self._work.owner) and self._work.store.cancelled(name):
                cancelled.set()
