"""Jobs as they are kept: sealed, leased, ended once, expired; a file of a newer version is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from edge_runtime.errors import BusyError, GoneError, QuotaError, RepeatError, ReusedKeyError, StateError, UnknownError
from edge_runtime.request import EditRequest, Fallback, Size
from server.jobs import rows
from server.jobs.database import FILE, JOBS
from server.jobs.job import Claim, Job, Outcome, State, Wanted, Webhook
from server.jobs.rows import ALIKE_SECONDS
from server.jobs.store import LEASE_SECONDS, TOMBSTONE_SECONDS, JobStore
from server.quota import DEFAULT_QUOTA, Quota
from server.sealing import MASTER_KEY, sealer_in
from server.sqlite_file import connected

PHOTO = b"a photograph " * 1000
WORDS = "make my grandmother smile"
KEEP_SECONDS = 3600.0


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[JobStore]:
    with closing(opened(tmp_path, clock)) as kept:
        yield kept


def opened(state: Path, clock: Clock, quota: Quota = DEFAULT_QUOTA) -> JobStore:
    return JobStore(state / FILE, sealer_in(state), KEEP_SECONDS, quota, clock)


def wanted(**changes: object) -> Wanted:
    return Wanted(request=EditRequest(image=PHOTO, instruction=WORDS), **changes)  # type: ignore[arg-type]


def claim(body: bytes = b"body", key: str | None = None, caller: str = "anna") -> Claim:
    return Claim(caller=caller, fingerprint=body, idempotency_key=key, may_repeat=True)


def ready(picture: bytes = b"picture") -> Outcome:
    return Outcome(state=State.READY, told={"width": 3}, picture=picture)


def begun(store: JobStore, owner: str = "one") -> Job:
    job = store.claim(owner)
    assert job is not None
    return job


def test_a_job_is_there_after_the_file_was_opened_again(tmp_path: Path, clock: Clock) -> None:
    request = EditRequest(
        image=PHOTO, mask=b"mask", plan={"edits": [{"adjust": "blur", "amount": 0.5}]}, model="auto", quality=7,
        size=Size(width=30, height=20), references=(b"one", b"two"), seed=3, guidance={"": 4.0}, steps=9,
        fallback=Fallback.ALLOW, deadline_seconds=30.5, max_cost_usd=0.25, output_format="webp", negative="rain",
    )  # fmt: skip
    with closing(opened(tmp_path, clock)) as first:
        name = first.admit(Wanted(request=request, stored=True, warnings=("odd",)), claim()).id
    with closing(opened(tmp_path, clock)) as second:
        job = begun(second)
        assert job.id == name and second.wanted(job) == Wanted(request=request, stored=True, warnings=("odd",))


def test_nothing_of_it_can_be_read_in_the_folder(tmp_path: Path, store: JobStore) -> None:
    hook = Webhook(url="https://example.com/private/path", secret="s" * 20)
    store.admit(wanted(webhook=hook), claim())
    job = begun(store)
    store.taken(job, {"polling_url": "https://provider.example/secret-job"})
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {FILE, MASTER_KEY}
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, f"others can read {path.name}"
        for secret in (PHOTO[:40], WORDS.encode(), b"private/path", b"secret-job"):
            assert secret not in path.read_bytes()
    assert store.receipt(job) == {"polling_url": "https://provider.example/secret-job"}


def test_parts_are_bound_to_their_job_and_role(tmp_path: Path, store: JobStore) -> None:
    one, two = (store.admit(wanted(), claim(body)) for body in (b"1", b"2"))
    with closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        connection.execute(
            "UPDATE parts SET sealed = (SELECT sealed FROM parts WHERE job = ? AND role = 'image') "
            "WHERE job = ? AND role = 'options'", (one.id, one.id),
        )  # fmt: skip
        connection.execute(
            "UPDATE parts SET sealed = (SELECT sealed FROM parts AS other WHERE job = ? AND role = 'image') "
            "WHERE job = ? AND role = 'image'", (one.id, two.id),
        )  # fmt: skip
    for job in (one, two):
        with pytest.raises(StateError, match="can't be opened"):
            store.wanted(job)


def test_a_lease_runs_out_and_then_another_has_the_job(store: JobStore, clock: Clock) -> None:
    store.admit(wanted(), claim())
    mine = begun(store, "one")
    assert mine.attempts == 1 and store.claim("two") is None
    clock.now += LEASE_SECONDS - 1
    assert store.renew(mine.id, "one") and store.claim("two") is None
    clock.now += LEASE_SECONDS + 1
    assert store.claim("one", busy_with=[mine.id]) is None, "not from itself"
    theirs = begun(store, "two")
    assert theirs.id == mine.id and theirs.attempts == 2
    assert not store.renew(mine.id, "one") and not store.finish(mine, "one", ready(b"late"))
    with pytest.raises(RepeatError, match="another process"):
        store.asking(mine.id, "one", "central")
    assert store.finish(theirs, "two", ready(b"theirs")) and not store.finish(theirs, "two", ready(b"again"))
    assert store.picture(store.job(mine.id, "anna")) == b"theirs"


def test_jobs_are_claimed_in_order_and_may_be_put_back(store: JobStore, clock: Clock) -> None:
    names = [store.admit(wanted(), claim(bytes([number]))).id for number in range(3)]
    assert [store.job(name, "anna").position for name in names] == [0, 1, 2]
    first = begun(store)
    assert first.id == names[0] and store.job(names[2], "anna").position == 1
    store.put_back(first.id, "one", 5.0)
    assert store.job(first.id, "anna").state is State.PENDING
    assert begun(store).id == names[1], "not before its time"
    clock.now += 5
    assert begun(store).attempts == 1, "an attempt that was put back doesn't count"


def test_what_ended_stays_as_it_ended(store: JobStore) -> None:
    name = store.admit(wanted(), claim()).id
    job = begun(store)
    assert store.cancel(name, "anna").state is State.CANCELLED
    assert store.cancel(name, "anna").state is State.CANCELLED, "cancelling again changes nothing"
    assert not store.finish(job, "one", ready()) and store.told(job) == {}
    done = store.admit(wanted(), claim(b"other")).id
    assert store.finish(begun(store), "one", ready())
    with pytest.raises(RepeatError, match="has ended"):
        store.cancel(done, "anna")
    assert store.claim("one") is None


def test_inputs_go_when_a_job_ends(tmp_path: Path, store: JobStore) -> None:
    store.admit(wanted(), claim())
    assert store.finish(begun(store), "one", ready())
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        assert {role for (role,) in connection.execute("SELECT role FROM parts")} == {"outcome", "result"}


def test_a_job_is_its_callers(store: JobStore) -> None:
    name = store.admit(wanted(), claim()).id
    for ask in (store.job, store.cancel):
        with pytest.raises(UnknownError):
            ask(name, "berta")
    assert store.admit(wanted(), claim(caller="berta")).id != name, "the same body of somebody else is another job"


def test_expired_jobs_are_shredded_and_later_forgotten(tmp_path: Path, store: JobStore, clock: Clock) -> None:
    name = store.admit(wanted(), claim(key="k")).id
    job = begun(store)
    assert job.key is not None and store.finish(job, "one", ready())
    clock.now += KEEP_SECONDS - 1
    assert store.sweep() == 0 and store.picture(store.job(name, "anna")) == b"picture"
    clock.now += 2
    assert store.sweep() == 1
    with pytest.raises(GoneError):
        store.job(name, "anna")
    for path in tmp_path.glob(f"{FILE}*"):
        assert job.key not in path.read_bytes(), "the wrapped key is gone from the disk"
    assert store.admit(wanted(), claim(key="k")).id != name
    clock.now += TOMBSTONE_SECONDS
    store.sweep()
    with pytest.raises(UnknownError):
        store.job(name, "anna")


def test_jobs_that_wait_do_not_expire(store: JobStore, clock: Clock) -> None:
    name = store.admit(wanted(), claim()).id
    clock.now += 2 * KEEP_SECONDS
    assert store.sweep() == 0 and begun(store).id == name


def test_the_same_request_is_the_same_job(store: JobStore, clock: Clock) -> None:
    keyed = store.admit(wanted(), claim(key="k"))
    assert store.admit(wanted(), claim(key="k")).id == keyed.id
    with pytest.raises(ReusedKeyError):
        store.admit(wanted(), claim(b"another body", key="k"))
    bare = store.admit(wanted(), claim())
    assert bare.id != keyed.id and store.admit(wanted(), claim()).id == bare.id
    assert store.admit(wanted(), replace(claim(), may_repeat=False)).id != bare.id
    clock.now += ALIKE_SECONDS + 1
    assert store.admit(wanted(), claim()).id != bare.id
    assert store.admit(wanted(), claim(key="k")).id == keyed.id, "a key is good for as long as its job is kept"


@pytest.mark.parametrize("state", [State.ERROR, State.CANCELLED])
def test_a_job_that_failed_does_not_stand_for_the_next(store: JobStore, state: State) -> None:
    name = store.admit(wanted(), claim()).id
    assert store.finish(begun(store), "one", Outcome(state=state, told={"code": "x"}))
    assert store.admit(wanted(), claim()).id != name


def test_the_number_of_open_jobs_is_bounded(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_OPEN_PER_CALLER", 2)
    for number in range(2):
        store.admit(wanted(), claim(bytes([number])))
    with pytest.raises(BusyError) as full:
        store.admit(wanted(), claim(b"third"))
    assert full.value.retry_after_seconds == 60
    store.admit(wanted(), claim(caller="berta"))
    assert store.finish(begun(store), "one", ready())
    store.admit(wanted(), claim(b"third"))


def test_what_nobody_needs_goes_for_something_new_the_oldest_first(tmp_path: Path, clock: Clock) -> None:
    size, large = len(PHOTO), b"p" * len(PHOTO)
    with closing(opened(tmp_path, clock, Quota(total=round(3.5 * size)))) as store:
        names = []
        for number in range(3):
            names.append(store.admit(wanted(), claim(bytes([number]))).id)
            assert store.finish(begun(store), "one", ready(large))
            clock.now += 1
        with pytest.raises(BusyError, match="fetched or have expired") as full:
            store.admit(wanted(), claim(b"more"))
        assert full.value.retry_after_seconds == 60 and store.kept_bytes() >= 3 * size, "nobody has seen them yet"
        for name in (names[1], names[0]):
            store.fetched(store.job(name, "anna"))
        store.admit(wanted(), claim(b"more", caller="berta"))
        with pytest.raises(GoneError):
            store.job(names[0], "anna")
        for name in names[1:]:
            assert store.picture(store.job(name, "anna")) == large
        assert store.kept_bytes() < 3.5 * size


def test_a_key_has_a_quota_of_its_own(tmp_path: Path, clock: Clock) -> None:
    size = len(PHOTO)
    with closing(opened(tmp_path, clock, Quota(total=10 * size, per_caller=round(1.5 * size)))) as store:
        first = store.admit(wanted(), claim(b"1")).id
        with pytest.raises(QuotaError, match="as much in jobs as it may.*MB with this one.*Fetch results"):
            store.admit(wanted(), claim(b"2"))
        assert store.admit(wanted(), claim(b"1")).id == first, "no new one"
        store.admit(wanted(), claim(caller="berta"))
        assert store.cancel(first, "anna").state is State.CANCELLED
        store.admit(wanted(), claim(b"2"))
        assert store.job(first, "anna").state is State.CANCELLED, "it takes no room, so it stays known"


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path, clock: Clock) -> None:
    opened(tmp_path, clock).close()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("PRAGMA user_version = 3")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StateError, match="newer nanoedge.*version 3.*Allowed: version 2.*--state"):
        opened(tmp_path, clock)
    assert (tmp_path / FILE).read_bytes() == before, "and left alone"


def test_a_file_of_the_first_version_is_gone_on_with(tmp_path: Path, clock: Clock) -> None:
    connected(tmp_path / FILE, replace(JOBS, steps=JOBS.steps[:1])).close()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        connection.execute(
            "INSERT INTO jobs (id, caller, state, created, expires, not_before, bytes) "
            "VALUES ('old', 'anna', 'Cancelled', 1, 9e9, 0, 0)"
        )
    with closing(opened(tmp_path, clock)) as store:
        assert store.job("old", "anna").state is State.CANCELLED
        store.admit(wanted(), claim())
        assert store.finish(job := begun(store), "one", ready())
        store.fetched(job)


def test_what_cannot_be_kept_is_said(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database" * 100)
    with pytest.raises(StateError, match="can't be kept"):
        opened(tmp_path, clock)
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="master key can't be"):
        sealer_in(tmp_path / "file" / "state")
