"""Rows of jobs: reading them, finding the one that a request made before, and making room for another."""

from __future__ import annotations

import sqlite3
from typing import Final

from edge_runtime.errors import BusyError, GoneError, QuotaError, ReusedKeyError, UnknownError
from server.jobs.job import Claim, Job, State
from server.quota import MEGABYTE, Kept, Quota, outdated

ALIKE_SECONDS: Final = 600.0
"""A request like one of the same caller in this time is that one again."""

MAX_OPEN: Final = 1000
MAX_OPEN_PER_CALLER: Final = 100
OPEN: Final = f"('{State.PENDING.value}', '{State.PROCESSING.value}')"
_COLUMNS: Final = "id, caller, state, created, expires, started, ended, attempts, provider, key"
_NEEDLESS: Final = f"state NOT IN {OPEN} AND (state <> 'Ready' OR fetched IS NOT NULL)"
_FULL_SECONDS: Final = 60


def read(connection: sqlite3.Connection, name: str) -> Job:
    """Return a job, with the number of those before it; raises UnknownError."""
    row = connection.execute(
        f"SELECT {_COLUMNS}, (SELECT count(*) FROM jobs AS other WHERE other.state = 'Pending' AND "
        "other.number < jobs.number AND jobs.state = 'Pending') AS position FROM jobs WHERE id = ?", (name,),
    ).fetchone()
    if row is None:
        raise _unknown()
    return Job(**{**dict(row), "state": State(row["state"])})


def read_own(connection: sqlite3.Connection, name: str, caller: str) -> Job:
    """Return a job of a caller; raises UnknownError, or GoneError for one that expired."""
    job = read(connection, name)
    if job.caller != caller:
        raise _unknown()
    if job.state is State.EXPIRED:
        raise GoneError("the job has expired, and its result with it", hint="send the request again")
    return job


def find_repeated(connection: sqlite3.Connection, claim: Claim, now: float) -> Job | None:
    """Return the job that the same request made before; raises ReusedKeyError."""
    if claim.idempotency_key is not None:
        found = connection.execute(
            "SELECT id, fingerprint FROM jobs WHERE caller = ? AND idempotency_key = ?",
            (claim.caller, claim.idempotency_key),
        ).fetchone()
        if found is not None and found["fingerprint"] != claim.fingerprint:
            raise ReusedKeyError(
                "this Idempotency-Key came with another request before", hint="use a new key for a new request"
            )
    elif not claim.may_repeat:
        return None
    else:
        found = connection.execute(
            "SELECT id FROM jobs WHERE caller = ? AND fingerprint = ? AND created > ? AND idempotency_key IS NULL "
            "AND state NOT IN ('Error', 'Cancelled', 'Expired') ORDER BY number DESC LIMIT 1",
            (claim.caller, claim.fingerprint, now - ALIKE_SECONDS),
        ).fetchone()
    return None if found is None else read(connection, found["id"])


def make_room(connection: sqlite3.Connection, caller: str, size: int, quota: Quota) -> list[str]:
    """Return the ended jobs that go for a new one: of those whose result was fetched, or that have none, the oldest.

    Raises QuotaError when the caller keeps too much all the same, BusyError when all do or too many jobs are open.
    """
    count = f"SELECT count(*) FROM jobs WHERE state IN {OPEN}"
    open_jobs, own = connection.execute(f"SELECT ({count}), ({count} AND caller = ?)", (caller,)).fetchone()
    if own >= MAX_OPEN_PER_CALLER or open_jobs >= MAX_OPEN:
        raise _busy("too many jobs are kept already", "try again when some have ended")
    held_own, held = connection.execute(
        f"SELECT coalesce(sum(bytes * (caller = ?)), 0), coalesce(sum(bytes), 0) FROM jobs WHERE NOT ({_NEEDLESS})",
        (caller,),
    ).fetchone()
    if quota.per_caller is not None and held_own + size > quota.of_one:
        error = QuotaError(
            "this API key keeps as much in jobs as it may", got=f"{(held_own + size) / MEGABYTE:.1f} MB with this one",
            allowed=f"{quota.of_one / MEGABYTE:.1f} MB", hint="fetch results, or wait until jobs have ended or expired",
        )
        error.retry_after_seconds = _FULL_SECONDS
        raise error
    if held + size > quota.total:
        raise _busy("as much is kept in jobs as may be", "try again when some were fetched or have expired")
    kept = [
        Kept(name=row["id"], caller=row["caller"], since=row["ended"], bytes=row["bytes"])
        for row in connection.execute(f"SELECT id, caller, ended, bytes FROM jobs WHERE bytes > 0 AND {_NEEDLESS}")
    ]
    left = Quota(total=quota.total - held, per_caller=quota.of_one - held_own)
    return [one.name for one in outdated(kept, caller, size, left)]


def _busy(what: str, hint: str) -> BusyError:
    error = BusyError(what, hint=hint)
    error.retry_after_seconds = _FULL_SECONDS
    return error


def _unknown() -> UnknownError:
    return UnknownError("there is no such job", hint="use the polling_url as it was given, with the same key")
