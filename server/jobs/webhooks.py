"""Telling a client's server that a job has ended: signed, to public addresses alone, again until it says it got it.

The body is the job's state as JSON. `X-Nanoedge-Signature: t=<seconds since 1970>,v1=<hex>` is the HMAC-SHA256 of the
time, a full stop and the body, under the client's own secret; who checks the time too can't be told old news.
"""

from __future__ import annotations

import hmac
import json
import logging
import threading
import time
from typing import Final

from edge_runtime.errors import NanoedgeError, UrlError
from edge_runtime.fetch import FetchPolicy, tell
from server.jobs.job import Job, Webhook, state_of
from server.jobs.patience import Trouble
from server.jobs.store import JobStore

logger = logging.getLogger(__name__)

MAX_TELLINGS: Final = 8
_FIRST_PAUSE_SECONDS: Final = 10.0
_LONGEST_PAUSE_SECONDS: Final = 3600.0
_IDLE_SECONDS: Final = 2.0


def retry_seconds(attempts: int) -> float:
    """Return how long to wait after so many attempts before this one."""
    return min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 3.0**attempts)


def signature(secret: str, body: bytes, now: int) -> str:
    """Return the value of X-Nanoedge-Signature."""
    mac = hmac.digest(secret.encode(), f"{now}.".encode() + body, "sha256").hex()
    return f"t={now},v1={mac}"


class Webhooks:
    """Tells what is due, on a thread of its own, until it is stopped."""

    def __init__(self, store: JobStore, policy: FetchPolicy) -> None:
        self._store, self._policy = store, policy
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin with what was due before."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End after what is being told."""
        self._stopping.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        trouble = Trouble(logger, "webhooks can't be told")
        while not self._stopping.is_set():
            try:
                due = self._store.due_webhook(retry_seconds)
                if due is not None:
                    self._tell(*due)
                    continue
                trouble.over()
            except NanoedgeError as error:
                trouble.met(error)
            self._stopping.wait(_IDLE_SECONDS)

    def _tell(self, job: Job, webhook: Webhook, attempts: int) -> None:
        body = json.dumps(state_of(job, self._store.told(job))).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Nanoedge-Signature": signature(webhook.secret, body, int(time.time())),
        }
        try:
            tell(webhook.url, body, headers, self._policy)
        except UrlError as error:
            if attempts < MAX_TELLINGS and error.code != "image_url_forbidden":
                return
            logger.warning("the webhook of job %s was given up: %s", job.id, error.code)
        self._store.webhook_done(job.id)
