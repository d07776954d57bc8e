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


def report(one: Breaker, good: bool) -> None:
    """One request and how it went."""
    passed = one.admit()
    assert passed is not None
    one.succeeded(passed) if good else one.failed(passed)


def test_three_failures_in_a_row_open_it():
    clock, one = breaker()
    for good in (False, False, True, True, True, True, True, False, False):
        report(one, good)
    assert one.state is BreakerState.CLOSED
    report(one, False)
    assert one.state is BreakerState.OPEN and one.admit() is None and one.wait_seconds == 5


def test_half_of_five_in_a_minute_open_it():
    clock, one = breaker()
    for good in (False, True, False, True):
        report(one, good)
    assert one.state is BreakerState.CLOSED, "four are too few to judge"
    report(one, False)
    assert one.state is BreakerState.OPEN


def test_what_is_older_than_a_minute_is_forgotten():
    clock, one = breaker()
    for good in (False, True, False, True):
        report(one, good)
    clock.now += 61
    report(one, False)
    assert one.state is BreakerState.CLOSED


def test_one_probe_and_pauses_that_double():
    clock, one = breaker()
    for _ in range(3):
        report(one, False)
    pause = 5.0
    while pause < LONGEST_PAUSE_SECONDS:
        clock.now += pause - 0.01
        assert one.state is BreakerState.OPEN and one.admit() is None
        clock.now += 0.01
        assert one.state is BreakerState.PROBING
        probe = one.admit()
        assert probe is not None and one.admit() is None, "one probe"
        one.failed(probe)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        assert one.wait_seconds == pause
    clock.now += pause
    report(one, True)
    assert one.state is BreakerState.CLOSED and one.admit() and one.admit()
    for _ in range(3):
        report(one, False)
    assert one.wait_seconds == 5, "after a success it starts from the first pause"


def test_a_probe_without_a_verdict_lets_another_go():
    clock, one = breaker()
    for _ in range(3):
        report(one, False)
    clock.now += 5
    probe = one.admit()
    assert probe is not None and one.admit() is None
    one.dismissed(probe)
    assert one.admit()


def test_late_reports_from_before_it_opened_change_nothing():
    clock, one = breaker()
    late = [one.admit() for _ in range(3)]
    for _ in range(3):
        report(one, False)
    clock.now += 5
    assert one.admit(), "the probe is out"
    for early_pass, tell in zip(late, (one.succeeded, one.failed, one.dismissed), strict=True):
        assert early_pass is not None
        tell(early_pass)
        assert one.state is BreakerState.PROBING and one.admit() is None


def test_forbidden_is_for_good():
    clock, one = breaker()
    one.forbidden()
    clock.now += 1e9
    assert one.state is BreakerState.FORBIDDEN and one.admit() is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["good", "bad", "nothing"])), max_size=60))
def test_whatever_happens(events: list[tuple[float, str]]) -> None:
    """Open it admits nobody, and it never stays so for longer than the longest pause; pauses lie in their bounds."""
    clock, one = breaker()
    for seconds, event in events:
        clock.now += seconds
        state = one.state
        given_pass = one.admit()
        assert (given_pass is None) == (state is BreakerState.OPEN)
        assert 0 <= one.wait_seconds <= LONGEST_PAUSE_SECONDS
        if given_pass is not None:
            {"good": one.succeeded, "bad": one.failed, "nothing": one.dismissed}[event](given_pass)
            if event == "good":
                assert one.state is BreakerState.CLOSED
    clock.now += LONGEST_PAUSE_SECONDS
    assert one.admit()
