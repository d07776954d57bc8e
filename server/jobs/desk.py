"""The jobs of a node: the store, and the threads that work on it. Opened when there is something kept, or to keep."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from flask import current_app

from edge_runtime.errors import NothingKeptError, OptionError, StateError, UrlError
from server.jobs.database import FILE
from server.jobs.job import Claim, Job, State, Wanted
from server.jobs.runner import Runner
from server.jobs.store import JobStore
from server.jobs.work import Work
from server.node import Node
from server.room import check_disk
from server.sealing import sealer_in

if TYPE_CHECKING:
    from edge_runtime.fetch import FetchPolicy
    from server.jobs.webhooks import Webhooks

_AT_ONCE: Final = 1
_AT_ONCE_WITH_PROVIDERS: Final = 4
"""Jobs that are worked on at once: the others wait here, so that people who wait for an answer find places."""

_WEBHOOK_SECONDS: Final = 10.0
_ALL_PORTS: Final = tuple(range(1, 65536))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    store: JobStore
    runner: Runner
    webhooks: Webhooks


class Jobs:
    """Safe to share between threads. Whoever makes it must `stop` it."""

    def __init__(self, node: Node) -> None:
        """Go on with what an earlier process left, if it left anything; raises StateError."""
        self._node, self._lock = node, threading.Lock()
        self._open: _Open | None = None
        if node.config.state is not None and (node.config.state / FILE).exists():
            self._opened()

    def admit(self, wanted: Wanted, claim: Claim) -> Job:
        """Keep a job; raises NothingKeptError, FullError, and what `JobStore.admit` raises."""
        opened = self._opened()
        check_disk(self._node.config.state or Path(), wanted.bytes)
        job = opened.store.admit(wanted, claim)
        opened.runner.wake()
        return job

    def cancel(self, name: str, caller: str) -> Job:
        """End a job early."""
        opened = self._opened()
        job = opened.store.cancel(name, caller)
        opened.runner.cancel(name)
        return job

    def job(self, name: str, caller: str) -> tuple[Job, Mapping[str, Any], float]:
        """Return a job, what is told of its end, and the share that is done of it, 0..1."""
        opened = self._opened()
        job = opened.store.job(name, caller)
        if job.state is State.PROCESSING and job.started is not None:
            return job, {}, opened.runner.progress(job.started)
        return job, opened.store.told(job), float(job.state is State.READY)

    def picture(self, name: str, caller: str) -> tuple[Job, bytes | None, Mapping[str, Any]]:
        """Return a job with its encoded result, None without one, and what is told of it."""
        store = self._opened().store
        job = store.job(name, caller)
        picture = store.picture(job)
        if picture is not None:
            with suppress(StateError):  # on a full disk it stays as if nobody had fetched it
                store.fetched(job)
        return job, picture, store.told(job)

    def kept_bytes(self) -> int:
        """Return how much is kept."""
        with self._lock:
            opened = self._open
        return opened.store.kept_bytes() if opened else 0

    def check_webhook(self, url: str) -> None:
        """Raise OptionError for a webhook's address that is refused wherever its name leads to."""
        from edge_runtime.fetch import check_url

        try:
            check_url(url, self._webhook_policy())
        except UrlError as error:
            raise OptionError(f"the webhook_url can't be used: {error}", param="webhook_url") from error

    def _webhook_policy(self) -> FetchPolicy:
        """Return where webhooks may go."""
        from edge_runtime.fetch import FetchPolicy

        networks = self._node.config.webhook_networks
        policy = FetchPolicy(seconds=_WEBHOOK_SECONDS, allow_addresses=networks)
        return replace(policy, allowed_ports=_ALL_PORTS) if networks else policy

    def drain(self) -> None:
        """Begin no more jobs."""
        with self._lock:
            if self._open is not None:
                self._open.runner.drain()

    def stop(self, seconds: float) -> bool:
        """End within `seconds`: jobs that aren't done by then stay queued, and false is returned."""
        with self._lock:
            opened, self._open = self._open, None
        if opened is None:
            return True
        done = opened.runner.stop(seconds)
        opened.webhooks.stop(seconds if done else 0.0)
        if done:
            opened.store.close()
        return done

    def _opened(self) -> _Open:
        with self._lock:
            if self._open is None:
                self._open = self._begun()
            return self._open

    def _begun(self) -> _Open:
        # Imported here: a node without jobs must not pay for the HTTP client.
        from server.jobs.webhooks import Webhooks

        node, state = self._node, self._node.config.state
        if state is None:
            raise NothingKeptError("this node keeps no jobs", hint="start it with --state")
        store = JobStore(state / FILE, sealer_in(state), node.config.keep_seconds, node.config.quota)

        def swept() -> None:
            store.sweep()
            node.results.sweep()

        work = Work(node=node, store=store, owner=secrets.token_hex(8))
        slots = _AT_ONCE_WITH_PROVIDERS if node.service.remotes else _AT_ONCE
        opened = _Open(
            store=store, runner=Runner(work, slots, swept), webhooks=Webhooks(store, self._webhook_policy())
        )
        opened.runner.start()
        opened.webhooks.start()
        return opened


def current_jobs() -> Jobs:
    """Return the jobs of the application that answers the current request."""
    return cast(Jobs, current_app.extensions["nanoedge.jobs"])
