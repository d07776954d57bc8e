"""The database of keys: what holds when, what is stored of a key, and what the ledger of spending leaves."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge_runtime.errors import AccessError, NanoedgeError, OptionError
from server.buckets import Buckets, RateError
from server.key_store import FILE, PEPPER, KeyStore
from server.keys import ApiKey, Rate, Rule
from server.spending import Spending

NOON = datetime(2026, 11, 30, 12, tzinfo=timezone.utc).timestamp()


class Clock:
    """Time that a test moves on."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[KeyStore]:
    made = KeyStore(tmp_path / "state", clock)
    yield made
    made.close()


def test_a_key_holds_until_it_expires(store: KeyStore, clock: Clock) -> None:
    assert not store.in_use and store.all() == []
    key, text = store.create("phone", Rule(), seconds=100)
    assert store.in_use and store.check(text) == key == store.get(key.id)
    clock.now += 99
    store.check(text)
    clock.now += 1
    with pytest.raises(AccessError, match="expired"):
        store.check(text)


def test_other_keys_do_not_hold(store: KeyStore) -> None:
    key, text = store.create("phone", Rule())
    other = text[:-1] + ("a" if text[-1] != "a" else "b")
    for wrong in ("", "none", text[:-1], other, text.replace(key.id, "00000000")):
        with pytest.raises(AccessError, match="not known"):
            store.check(wrong)


def test_a_revoked_key_ends_at_once_and_the_node_stays_closed(store: KeyStore) -> None:
    key, text = store.create("phone", Rule())
    store.revoke(key.id)
    with pytest.raises(AccessError, match="revoked"):
        store.check(text)
    assert store.in_use
    with pytest.raises(OptionError, match="no longer holds"):
        store.rotate(key.id, 10)
    with pytest.raises(OptionError, match="no such key"):
        store.revoke("00000000")


def test_a_rotated_key_overlaps_with_its_successor(store: KeyStore, clock: Clock) -> None:
    key, old = store.create("phone", Rule())
    new = store.rotate(key.id, 60)
    assert store.check(old).id == store.check(new).id == key.id
    newest = store.rotate(key.id, 60)
    with pytest.raises(AccessError):
        store.check(old)
    assert store.check(new).id == store.check(newest).id == key.id
    clock.now += 60
    store.check(newest)
    with pytest.raises(AccessError):
        store.check(new)


def test_another_process_sees_what_changed(store: KeyStore, tmp_path: Path) -> None:
    other = KeyStore(tmp_path / "state")
    assert not other.in_use
    key, text = store.create("phone", Rule())
    assert other.in_use and other.check(text).id == key.id
    store.revoke(key.id)
    with pytest.raises(AccessError):
        other.check(text)
    other.close()


def test_nothing_stored_is_the_key_and_only_the_user_reads_it(store: KeyStore, tmp_path: Path) -> None:
    _, text = store.create("phone", Rule())
    folder = tmp_path / "state"
    for file in folder.iterdir():
        assert text.encode() not in file.read_bytes() and text[12:].encode() not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and {FILE, PEPPER} <= {file.name for file in folder.iterdir()}


def test_lost_keys_do_not_open_the_node(store: KeyStore, tmp_path: Path) -> None:
    _, text = store.create("phone", Rule())
    store.close()
    for file in (tmp_path / "state").glob(f"{FILE}*"):
        file.unlink()
    late = KeyStore(tmp_path / "state")
    assert late.in_use
    with pytest.raises(AccessError, match="not known"):
        late.check(text)
    _, another = late.create("phone", Rule())
    late.check(another)
    late.close()


def test_two_commands_at_once_share_a_pepper(tmp_path: Path) -> None:
    stores = [KeyStore(tmp_path / "state") for _ in range(8)]
    texts: list[str] = []
    threads = [threading.Thread(target=lambda one=one: texts.append(one.create("x", Rule())[1])) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 8
    for text in texts:
        stores[0].check(text)
    for one in stores:
        one.close()


def test_a_lost_pepper_is_said_and_not_replaced(store: KeyStore, tmp_path: Path) -> None:
    _, text = store.create("phone", Rule())
    pepper = tmp_path / "state" / PEPPER
    pepper.unlink()
    late = KeyStore(tmp_path / "state")
    for act in (lambda: late.check(text), lambda: late.create("other", Rule())):
        with pytest.raises(NanoedgeError, match="pepper"):
            act()
    pepper.write_bytes(b"short")
    with pytest.raises(NanoedgeError, match="damaged"):
        late.check(text)
    late.close()


def capped(**caps: float) -> ApiKey:
    return ApiKey(id="a", name="a", created=0.0, rule=Rule(**caps))


def test_caps_are_counted_by_day_and_month(tmp_path: Path, clock: Clock) -> None:
    ledger, key = Spending(tmp_path, clock), capped(usd_per_day=1.0, usd_per_month=1.5)
    assert ledger.left(key) == 1.0 and ledger.left(capped()) == float("inf")
    ledger.add("a", 0.9)
    ledger.add("b", 5.0)
    assert ledger.left(key) == pytest.approx(0.1) and ledger.seconds_to_more(key) == 12 * 3600
    clock.now -= 86_400
    ledger.add("a", 0.5)
    clock.now += 86_400
    assert ledger.spent("a") == (pytest.approx(0.9), pytest.approx(1.4))
    clock.now += 86_400  # another month
    assert ledger.left(key) == 1.0
    ledger.close()


def test_what_is_held_can_not_be_spent_twice(tmp_path: Path, clock: Clock) -> None:
    key = capped(usd_per_day=0.10)
    ledgers = [Spending(tmp_path, clock) for _ in range(2)]
    holds: list[float] = []

    def hold(ledger: Spending) -> None:
        for _ in range(5):
            holds.append(ledger.hold(key, 0.03)[1])

    threads = [threading.Thread(target=hold, args=(ledger,)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(holds) == pytest.approx(0.10) and sum(one == 0.03 for one in holds) == 3
    for ledger in ledgers:
        ledger.close()


def test_a_hold_becomes_what_was_spent_and_outlives_the_process(tmp_path: Path, clock: Clock) -> None:
    first, key = Spending(tmp_path, clock), capped(usd_per_month=1.0)
    unused, _ = first.hold(key, 0.4)
    used, _ = first.hold(key, 0.4)
    first.settle(unused, 0.0)
    first.settle(used, 0.3)
    first.hold(key, 0.2)  # and never settled
    first.close()
    second = Spending(tmp_path, clock)
    assert second.left(key) == pytest.approx(0.5)
    assert second.seconds_to_more(key) == 12 * 3600  # the next day is the next month's first
    second.close()


def test_a_job_has_one_entry_whoever_works_on_it(tmp_path: Path, clock: Clock) -> None:
    first, second = Spending(tmp_path, clock), Spending(tmp_path, clock)
    key = capped(usd_per_day=1.0)
    assert first.hold(key, 0.6, "job")[1] == second.hold(key, 0.6, "job")[1] == 0.6, "its own hold is not in its way"
    assert second.spent("a")[0] == pytest.approx(0.6)
    for _ in range(2):
        second.add("a", 0.5, "job")
    second.add("a", 0.1)
    second.add("a", 0.1)
    assert first.spent("a")[0] == pytest.approx(0.7)
    first.drop("job")
    assert second.spent("a")[0] == pytest.approx(0.2)
    first.close()
    second.close()


def test_a_bucket_fills_evenly(clock: Clock) -> None:
    buckets, rate = Buckets(clock), Rate.parse("6/min")
    assert [buckets.take("a", rate)[0] for _ in range(7)] == [True] * 6 + [False]
    level = buckets.look("a", rate)
    assert (level.remaining, level.next_seconds, level.full_seconds) == (0, 10, 60)
    assert buckets.take("b", rate)[0], "another key has its own"
    error = RateError(level)
    assert error.retry_after_seconds == 10 and "6/min" in str(error)
    clock.now += 10
    taken, level = buckets.take("a", rate)
    assert taken and level.headers() == {"RateLimit-Policy": '"key";q=6;w=60', "RateLimit": '"key";r=0;t=60'}
    clock.now += 1000
    assert buckets.look("a", rate).remaining == 6
