"""The breaker as a state machine, on a clock of its own."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.breaker import LONGEST_PAUSE_SECONDS, Breaker, BreakerState


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def breaker() -> tuple[Clock, Breaker]:
    clock = Clock()
    return clock, Breaker(clock)


def test_three_failures_in_a_row_open_it():
    clock, one = breaker()
    for good in (False, False, True, True, True, True, True, False, False):
        one.succeeded() if good else one.failed()
    assert one.state is BreakerState.CLOSED
    one.failed()
    assert one.state is BreakerState.OPEN and not one.admit() and one.wait_seconds == 5


def test_half_of_five_in_a_minute_open_it():
    clock, one = breaker()
    for good in (False, True, False, True):
        one.succeeded() if good else one.failed()
    assert one.state is BreakerState.CLOSED, "four are too few to judge"
    one.failed()
    assert one.state is BreakerState.OPEN


def test_what_is_older_than_a_minute_is_forgotten():
    clock, one = breaker()
    for good in (False, True, False, True):
        one.succeeded() if good else one.failed()
    clock.now += 61
    one.failed()
    assert one.state is BreakerState.CLOSED


def test_one_probe_and_pauses_that_double():
    clock, one = breaker()
    for _ in range(3):
        one.failed()
    pause = 5.0
    while pause < LONGEST_PAUSE_SECONDS:
        clock.now += pause - 0.01
        assert one.state is BreakerState.OPEN and not one.admit()
        clock.now += 0.01
        assert one.state is BreakerState.PROBING
        assert one.admit() and not one.admit(), "one probe"
        one.failed()
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        assert one.wait_seconds == pause
    clock.now += pause
    assert one.admit()
    one.succeeded()
    assert one.state is BreakerState.CLOSED and one.admit() and one.admit()
    for _ in range(3):
        one.failed()
    assert one.wait_seconds == 5, "after a success it starts from the first pause"


def test_a_probe_without_a_verdict_lets_another_go():
    clock, one = breaker()
    for _ in range(3):
        one.failed()
    clock.now += 5
    assert one.admit()
    one.dismissed()
    assert one.admit()


def test_forbidden_is_for_good():
    clock, one = breaker()
    one.forbidden()
    clock.now += 1e9
    assert one.state is BreakerState.FORBIDDEN and not one.admit()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["good", "bad", "nothing"])), max_size=60))
def test_whatever_happens(events: list[tuple[float, str]]) -> None:
    """Open it admits nobody, and it never stays so for longer than the longest pause; pauses lie in their bounds."""
    clock, one = breaker()
    for seconds, event in events:
        clock.now += seconds
        state = one.state
        admitted = one.admit()
        assert admitted == (state is not BreakerState.OPEN)
        assert 0 <= one.wait_seconds <= LONGEST_PAUSE_SECONDS
        if admitted:
            {"good": one.succeeded, "bad": one.failed, "nothing": one.dismissed}[event]()
            if event == "good":
                assert one.state is BreakerState.CLOSED
    clock.now += LONGEST_PAUSE_SECONDS
    assert one.admit()
