"""Intervals hold what they promise, on numbers of which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from converters.bench.intervals import apart, bootstrap, difference, mean, percentile, typical

EDITS = 30
ROUNDS = 5


def drawn(seed: int, shift: float = 0.0) -> np.ndarray:
    """Edits that differ by much more than one and the same edit does, as they do."""
    edits = np.random.default_rng(7).normal(0.0, 1.0, EDITS)
    return edits + shift + np.random.default_rng(seed).normal(0.0, 0.1, (ROUNDS, EDITS))


def test_pairs_see_through_what_edits_differ_by() -> None:
    found = difference(drawn(1), drawn(2, 0.18), typical)
    assert found.low < 0.18 < found.high and found.low > 0.05
    assert found.high - found.low < 0.25
    alone = apart(drawn(1), drawn(2, 0.18), typical)
    assert alone.high - alone.low > 2.0 * (found.high - found.low)


def test_an_interval_of_95_percent_holds_the_truth_about_as_often() -> None:
    held = 0
    for seed in range(200):
        sample = np.random.default_rng(seed).normal(3.0, 1.0, (1, 40))
        interval = bootstrap(sample, mean, resamples=400, seed=seed)
        held += interval.low <= 3.0 <= interval.high
    assert 176 <= held <= 199


def test_numbers_without_spread_have_an_interval_without_width() -> None:
    found = difference(np.full((3, 8), 2.0), np.full((4, 8), 2.0), typical)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_a_percentile_and_one_sample() -> None:
    numbers = np.arange(1, 101, dtype=float)[None]
    assert bootstrap(numbers, percentile(95)).value == pytest.approx(95.05)
    one = bootstrap(np.array([[4.0]]), mean)
    assert (one.value, one.low, one.high) == (4.0, 4.0, 4.0)
