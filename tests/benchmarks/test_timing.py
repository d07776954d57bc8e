"""Ratios of interleaved times find what was planted, and don't find what wasn't."""

from __future__ import annotations

import numpy as np

from benchmarks.timing import interleaved, ratio, told


def test_a_planted_factor_lies_in_its_interval_and_noise_that_hits_both_does_not_matter() -> None:
    random = np.random.default_rng(0)
    base = 1 + 0.1 * random.random(40)
    load = np.where(np.arange(40) % 5 == 0, 3.0, 1.0)
    value, low, high = ratio(1.5 * base * load, base * load)
    assert low <= 1.5 <= high and abs(value - 1.5) < 1e-9
    _, low, high = ratio(base * load, (1 + 0.1 * random.random(40)) * load)
    assert low < 1 < high
    assert told(base, base) == "1 (1 to 1)" and told(0.0123456 * base, base) == "0.012 (0.012 to 0.012)"


def test_every_round_has_all_jobs_in_an_order_of_its_own() -> None:
    called: list[str] = []

    def job(name: str, seconds: float) -> float:
        called.append(name)
        return seconds

    names = ("a", "b", "c")
    times = interleaved({name: lambda name=name: job(name, 0.5) for name in names}, 30)  # type: ignore[misc]
    assert all(len(times[name]) == 30 and times[name][0] == 0.5 for name in names)
    rounds = [tuple(called[start : start + 3]) for start in range(3, len(called), 3)]  # the first is the warm-up
    assert all(sorted(each) == list(names) for each in rounds) and len(set(rounds)) == 6
