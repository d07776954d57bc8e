"""The table of roundings: every method restores what it rounded, and NF4 loses the same in both hands."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.rounding import METHODS, measure

WEIGHTS = [np.random.default_rng(2).normal(size=shape).astype(np.float32) for shape in ((128, 96), (80, 64))]


@pytest.mark.parametrize("name", METHODS)
def test_methods_restore_what_they_rounded(name: str) -> None:
    loss = measure(METHODS[name], WEIGHTS)
    assert 19 < loss.weights_db < 25 and abs(loss.outputs_db - loss.weights_db) < 0.5
    assert 0.5 < loss.bytes_a_weight < 0.9 and loss.seconds > 0


def test_nf4_is_that_of_bitsandbytes() -> None:
    ours, theirs = (measure(METHODS[name], WEIGHTS) for name in ("ours, NF4 (`nf4`)", "bitsandbytes, NF4"))
    assert ours.weights_db == pytest.approx(theirs.weights_db, abs=1e-4)
    assert ours.bytes_a_weight == theirs.bytes_a_weight
