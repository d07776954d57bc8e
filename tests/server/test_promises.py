"""When those who are sent away shall come back, and that they get in then. With clocks that are given."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from edge_runtime.errors import BusyError
from server.lane import Lane
from server.promises import LONGEST_SECONDS, Promises


def test_each_promise_takes_the_next_stretch_of_time() -> None:
    promises = Promises()
    told = [promises.make(f"client {number}", 100.0, 2.0, 4.0) for number in range(4)]
    assert told == [2, 7, 12, 17]
    assert promises.make("client 0", 100.5, 2.0, 4.0) >= 17, "who comes too early is not served first for it"


def test_a_promise_is_for_one_client_and_once() -> None:
    promises = Promises()
    seconds = promises.make("a", 100.0, 2.0, 1.0)
    assert not promises.is_due("a", 101.0) and not promises.is_due("b", 102.0)
    assert promises.is_due("a", 100.0 + seconds)
    assert promises.expected(100.0, 1.0) == 0.0 and promises.expected(100.0, 2.0) == 1.0
    promises.keep("a")
    assert not promises.is_due("a", 102.0) and promises.expected(102.0, 9.0) == 0.0


def test_no_place_is_kept_for_one_without_a_name() -> None:
    lane = Lane(0, 1.0)
    with lane.place():
        for _ in range(20):
            with pytest.raises(BusyError), lane.place():
                pass
            assert lane.come_back("", 2.3) == 3
        assert not lane._promises._due
        assert lane.come_back("anna", 2.3) == 3 and list(lane._promises._due) == ["anna"]


def test_those_who_never_come_weigh_less_and_less() -> None:
    promises, now, told = Promises(), 100.0, 0
    for number in range(400):
        now += 1.0
        told = promises.make(f"ghost {number}", now, 1.0, 1.0)
        assert promises.expected(now, 5.0) <= 10
    assert told < 60, "the queue of ghosts does not grow"
    assert promises.expected(now, 5.0) < 2
    for number in range(100):
        promises.make(f"true {number}", now, 1.0, 1.0)
        promises.keep(f"true {number}")
    assert promises.make("last", now, 1.0, 1.0) >= told


def test_nobody_is_told_to_come_back_after_an_hour() -> None:
    promises = Promises()
    told = [promises.make(str(number), 0.0, 1.0, 60.0) for number in range(10)]
    assert max(told) == LONGEST_SECONDS and not promises.is_due("9", LONGEST_SECONDS + 1)


@pytest.fixture
def lane() -> Iterator[Lane]:
    yield Lane(max_waiting=3, max_wait_seconds=10.0)


def test_who_comes_back_as_told_finds_a_place(lane: Lane) -> None:
    with ExitStack() as full:
        for _ in range(4):
            full.enter_context(lane.place("early"))
        with pytest.raises(BusyError) as refused, lane.place("patient"):
            pass
        seconds = refused.value.retry_after_seconds
        assert seconds is not None and 1 <= seconds <= 3
    time.sleep(seconds - 0.2)
    with ExitStack() as others:
        for _ in range(3):
            others.enter_context(lane.place("newcomer"))
        with pytest.raises(BusyError), lane.place("newcomer"):
            pass
        with lane.place("patient") as promised:
            assert promised


def test_half_of_the_places_are_always_for_newcomers(lane: Lane) -> None:
    with ExitStack() as full:
        for _ in range(4):
            full.enter_context(lane.place("early"))
        for number in range(20):
            with pytest.raises(BusyError), lane.place(f"ghost {number}"):
                pass
    with lane.place("newcomer"), lane.place("newcomer"):
        assert lane.obstacle is not None


def test_who_was_promised_a_place_goes_first(lane: Lane) -> None:
    order: list[str] = []
    first = threading.Event()

    def edit(name: str, promised: bool) -> None:
        with lane.turn(lambda: False, 0.1, promised):
            order.append(name)
            first.wait(5)

    threads = []
    for count, (name, promised) in enumerate([("runs", False), ("newcomer", False), ("promised", True)]):
        threads.append(threading.Thread(target=edit, args=(name, promised)))
        threads[-1].start()
        deadline = time.monotonic() + 5
        while (len(lane._line) + lane.running <= count) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert lane.promised_wait_seconds < lane.wait_seconds
    first.set()
    for thread in threads:
        thread.join()
    assert order == ["runs", "promised", "newcomer"]


def test_waits_are_sums_of_what_turns_will_take() -> None:
    lane = Lane(max_waiting=8, max_wait_seconds=10.0)
    assert lane.wait_seconds == 0.0
    with lane.turn(lambda: False, 30.0):
        assert 29.0 < lane.wait_seconds <= 30.0
