"""Jobs as they are kept: admitted, claimed under a lease, ended once, expired. Several processes may share the file.

Whoever works on a job holds a lease and renews it; when its process dies, the lease runs out and another claims the
job. Every change by a worker is made only while the job is still its own, so a job ends once whoever was slow.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import RepeatError, StateError
from edge_runtime.receipts import Receipt
from server.jobs import parts
from server.jobs.database import Database
from server.jobs.job import Claim, Job, Outcome, State, Wanted, Webhook
from server.jobs.rows import OPEN, find_repeated, make_room, read, read_own
from server.jobs.vault import Vault, drop
from server.quota import DEFAULT_QUOTA, Quota
from server.sealing import Sealer

LEASE_SECONDS: Final = 10.0
TOMBSTONE_SECONDS: Final = 7 * 86400.0
"""How long it is known of an expired job that there was one."""


class JobStore:
    """The jobs of one state folder, pictures and words sealed. Safe to share between threads."""

    def __init__(
        self, path: Path, sealer: Sealer, keep_seconds: float, quota: Quota = DEFAULT_QUOTA,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open or make the file; an ended job is kept for `keep_seconds`, and `quota` bounds all. Raises StateError."""
        self._database, self._clock = Database(path), clock
        self._vault = Vault(self._database, sealer)
        self._keep_seconds, self._quota = keep_seconds, quota

    def admit(self, wanted: Wanted, claim: Claim) -> Job:
        """Keep a new job, durably; or return the one that the same request made before.

        Raises ReusedKeyError for an Idempotency-Key that came with another body, QuotaError or BusyError when too much
        is kept though jobs that nobody needs any more were shredded.
        """
        given = parts.to_parts(wanted)
        name, now, size = secrets.token_hex(16), self._clock(), sum(map(len, given.values()))
        with self._database.transaction(durable=True) as connection:
            if (known := find_repeated(connection, claim, now)) is not None:
                return known
            needless = make_room(connection, claim.caller, size, self._quota)
            connection.executemany("UPDATE jobs SET expires = ? WHERE id = ?", ((now, one) for one in needless))
            _shred(connection, now)
            key = self._vault.new_key(name)
            connection.execute(
                "INSERT INTO jobs (id, caller, state, created, expires, not_before, key, bytes, idempotency_key, "
                "fingerprint) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (name, claim.caller, State.PENDING.value, now, now + self._keep_seconds, 0.0, key, size,
                 claim.idempotency_key, claim.fingerprint),
            )  # fmt: skip
            self._vault.put(connection, name, key, given)
            job = read(connection, name)
        if needless:
            self._database.forget()
        return job

    def claim(self, owner: str, busy_with: Collection[str] = ()) -> Job | None:
        """Lease the next job to `owner`: the oldest that waits, or whose lease ran out. None when there is none.

        `busy_with` are jobs that the owner has in hand, whatever their leases say.
        """
        now, marks = self._clock(), ", ".join("?" * len(busy_with))
        with self._database.transaction(durable=False) as connection:
            found = connection.execute(
                f"SELECT id FROM jobs WHERE ((state = 'Pending' AND not_before <= ?) OR (state = 'Processing' AND "
                f"lease_until < ?)) AND id NOT IN ({marks}) ORDER BY number LIMIT 1", (now, now, *busy_with),
            ).fetchone()
            if found is None:
                return None
            connection.execute(
                "UPDATE jobs SET state = 'Processing', owner = ?, lease_until = ?, started = ?, "
                "attempts = attempts + 1 WHERE id = ?", (owner, now + LEASE_SECONDS, now, found["id"]),
            )
            return read(connection, found["id"])

    def renew(self, name: str, owner: str) -> bool:
        """Renew a lease; false when the job is no longer the owner's: cancelled, or claimed by another."""
        with self._database.transaction(durable=False) as connection:
            changed = connection.execute(
                "UPDATE jobs SET lease_until = ? WHERE id = ? AND owner = ? AND state = 'Processing'",
                (self._clock() + LEASE_SECONDS, name, owner),
            )
            return changed.rowcount == 1

    def cancelled(self, name: str) -> bool:
        """Say whether a job was cancelled."""
        with self._database.transaction(durable=False) as connection:
            return read(connection, name).state is State.CANCELLED

    def asking(self, name: str, owner: str, provider: str) -> None:
        """Keep, durably, that a provider is about to be asked; raises RepeatError when the job is another's."""
        with self._database.transaction(durable=True) as connection:
            _only_own(connection.execute(
                "UPDATE jobs SET provider = ? WHERE id = ? AND owner = ? AND state = 'Processing' AND lease_until >= ?",
                (provider, name, owner, self._clock()),
            ))
            drop(connection, name, parts.RECEIPT)

    def taken(self, job: Job, receipt: Receipt) -> None:
        """Keep, durably, what leads back to an edit that a provider took. Also of a job that was lost meanwhile."""
        assert job.key is not None
        with self._database.transaction(durable=True) as connection:
            self._vault.put(connection, job.id, job.key, {parts.RECEIPT: json.dumps(dict(receipt)).encode()})

    def released(self, name: str, owner: str) -> None:
        """Keep that nothing is to be expected from the provider; raises RepeatError when the job is another's."""
        with self._database.transaction(durable=True) as connection:
            _only_own(connection.execute(
                "UPDATE jobs SET provider = NULL WHERE id = ? AND owner = ? AND state = 'Processing'", (name, owner)
            ))
            drop(connection, name, parts.RECEIPT)

    def put_back(self, name: str, owner: str, seconds: float) -> None:
        """Let a job wait for at least `seconds` more; its present attempt doesn't count."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                "UPDATE jobs SET state = 'Pending', owner = NULL, lease_until = NULL, not_before = ?, "
                "attempts = attempts - 1 WHERE id = ? AND owner = ? AND state = 'Processing'",
                (self._clock() + seconds, name, owner),
            )

    def finish(self, job: Job, owner: str, outcome: Outcome) -> bool:
        """End a job, durably; its inputs are dropped. False when it has ended already or is another's now."""
        assert job.key is not None
        kept = {parts.OUTCOME: json.dumps(dict(outcome.told)).encode()}
        if outcome.picture is not None:
            kept[parts.RESULT] = outcome.picture
        with self._database.transaction(durable=True) as connection:
            changed = self._end(connection, outcome.state, "id = ? AND owner = ? AND state = 'Processing'",
                                job.id, owner)
            if changed:
                self._vault.put(connection, job.id, job.key, kept)
                size = sum(map(len, kept.values()))
                connection.execute("UPDATE jobs SET bytes = ? WHERE id = ?", (size, job.id))
        return changed

    def cancel(self, name: str, caller: str) -> Job:
        """End a job that has not ended, durably; raises RepeatError when it has, UnknownError or GoneError."""
        with self._database.transaction(durable=True) as connection:
            changed = self._end(connection, State.CANCELLED, f"id = ? AND caller = ? AND state IN {OPEN}",
                                name, caller)
            job = read_own(connection, name, caller)
        if not changed and job.state is not State.CANCELLED:
            raise RepeatError("the job has ended and can't be cancelled", got=job.state.value, code="job_ended")
        return job

    def job(self, name: str, caller: str) -> Job:
        """Return a job of a caller; raises UnknownError, or GoneError for one that expired."""
        with self._database.transaction(durable=False) as connection:
            return read_own(connection, name, caller)

    def wanted(self, job: Job) -> Wanted:
        """Return what a job shall do; raises StateError when it can't be opened."""
        return parts.from_parts(self._vault.parts(job))

    def receipt(self, job: Job) -> Receipt | None:
        """Return what leads back to the provider that took a job, if one did."""
        part = self._vault.part(job, parts.RECEIPT)
        return None if part is None else json.loads(part)

    def told(self, job: Job) -> Mapping[str, Any]:
        """Return what is told of a job's end; empty before and for a cancelled one."""
        part = self._vault.part(job, parts.OUTCOME)
        return {} if part is None else json.loads(part)

    def picture(self, job: Job) -> bytes | None:
        """Return the encoded result."""
        return self._vault.part(job, parts.RESULT)

    def fetched(self, job: Job) -> None:
        """Keep that a result was fetched: it may go first when room is needed."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                "UPDATE jobs SET fetched = ? WHERE id = ? AND fetched IS NULL", (self._clock(), job.id)
            )

    def kept_bytes(self) -> int:
        """Return how much is kept."""
        with self._database.transaction(durable=False) as connection:
            return int(connection.execute("SELECT coalesce(sum(bytes), 0) FROM jobs").fetchone()[0])

    def due_webhook(self, retry_seconds: Callable[[int], float]) -> tuple[Job, Webhook, int] | None:
        """Return a job whose end must be told now, and which attempt that is; the next one is put off.

        `retry_seconds` of the attempts made so far says for how long. So it is told again unless `webhook_done` is
        called: at least once.
        """
        now = self._clock()
        with self._database.transaction(durable=False) as connection:
            found = connection.execute(
                "SELECT id, webhook_attempts FROM jobs WHERE webhook_due <= ? ORDER BY webhook_due LIMIT 1", (now,)
            ).fetchone()
            if found is None:
                return None
            connection.execute(
                "UPDATE jobs SET webhook_due = ?, webhook_attempts = webhook_attempts + 1 WHERE id = ?",
                (now + retry_seconds(found["webhook_attempts"]), found["id"]),
            )
            job = read(connection, found["id"])
        part = self._vault.part(job, parts.WEBHOOK)
        if part is None:
            raise StateError("a job's webhook is missing", got=job.id)
        return job, parts.webhook(part), found["webhook_attempts"] + 1

    def webhook_done(self, name: str) -> None:
        """Keep that a webhook needs no more attempts."""
        with self._database.transaction(durable=True) as connection:
            connection.execute("UPDATE jobs SET webhook_due = NULL WHERE id = ?", (name,))
            drop(connection, name, parts.WEBHOOK)

    def sweep(self) -> int:
        """Shred what has expired, forget old tombstones; returns how many jobs were shredded."""
        now = self._clock()
        with self._database.transaction(durable=True) as connection:
            shredded = _shred(connection, now)
            connection.execute(
                "DELETE FROM jobs WHERE state = 'Expired' AND expires <= ?", (now - TOMBSTONE_SECONDS,)
            )
        if shredded:
            self._database.forget()
        return shredded

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _end(self, connection: sqlite3.Connection, state: State, where: str, *values: object) -> bool:
        """End the job of a condition whose first value is its name, unless the condition finds none."""
        now, name = self._clock(), values[0]
        changed = connection.execute(
            "UPDATE jobs SET state = ?, ended = ?, expires = ?, owner = NULL, lease_until = NULL, bytes = 0, "
            "webhook_due = CASE "
            f"WHEN EXISTS (SELECT 1 FROM parts WHERE job = jobs.id AND role = '{parts.WEBHOOK}') THEN ? END "
            f"WHERE {where}",
            (state.value, now, now + self._keep_seconds, now, *values),
        ).rowcount
        if changed:
            connection.execute("DELETE FROM parts WHERE job = ? AND role <> ?", (name, parts.WEBHOOK))
        return bool(changed)


def _shred(connection: sqlite3.Connection, now: float) -> int:
    """Make all that has expired unreadable; returns how many jobs that were."""
    due = f"expires <= ? AND state NOT IN ('Expired', {OPEN[1:]}"
    connection.execute(f"DELETE FROM parts WHERE job IN (SELECT id FROM jobs WHERE {due})", (now,))
    return connection.execute(
        "UPDATE jobs SET state = 'Expired', key = NULL, fingerprint = NULL, idempotency_key = NULL, "
        f"webhook_due = NULL, bytes = 0 WHERE {due}", (now,),
    ).rowcount  # fmt: skip


def _only_own(changed: sqlite3.Cursor) -> None:
    if changed.rowcount != 1:
        raise RepeatError("the job was cancelled, or is done by another process now", code="job_lost")
