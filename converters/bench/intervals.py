"""Intervals by the bootstrap (Efron 1979), of two levels where there are rounds: rounds drawn anew, and edits in them.

Rounds are minutes apart, so what drifts on a machine widens the interval as it should; edits alone would not show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Statistic = Callable[[Numbers], Any]
"""From (..., rounds, edits) to (...)."""

RESAMPLES: Final = 2000
LEVEL: Final = 0.95
_BLOCK: Final = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with the ends of its interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the three numbers."""
        return {"value": self.value, "low": self.low, "high": self.high}

    @classmethod
    def from_json(cls, data: dict[str, float]) -> Interval:
        """Read what `to_json` writes."""
        return cls(value=data["value"], low=data["low"], high=data["high"])

    def overlaps(self, other: Interval) -> bool:
        """Tell whether the two have a value in common."""
        return self.low <= other.high and other.low <= self.high


def mean(samples: Numbers) -> Numbers:
    """Mean over rounds and edits."""
    return np.asarray(samples.mean((-2, -1)))


def percentile(share: float) -> Statistic:
    """Return the statistic of a percentile over rounds and edits."""
    return lambda samples: np.percentile(samples, share, axis=(-2, -1))


def typical(samples: Numbers) -> Numbers:
    """Mean over edits of each edit's median over the rounds: a hiccup in one round counts for nothing."""
    return np.asarray(np.median(samples, axis=-2).mean(-1))


def bootstrap(
    samples: Numbers, statistic: Statistic, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Return the statistic of samples (rounds, edits) with its percentile interval; one sample is its own interval."""
    return interval(float(statistic(samples)), _redrawn(samples, statistic, resamples, seed), level)


def difference(
    first: Numbers,
    second: Numbers,
    statistic: Statistic,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return statistic(second) - statistic(first), both (rounds, edits) of the same edits: drawn together, in pairs."""
    blocks = zip(*_paired(first, second, resamples, seed), strict=True)
    drawn = np.concatenate([statistic(after) - statistic(before) for before, after in blocks])
    return interval(float(statistic(second) - statistic(first)), drawn, level)


def interval(value: float, drawn: Numbers, level: float) -> Interval:
    """Return the middle share `level` of what was drawn."""
    low, high = np.quantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(value=value, low=float(low), high=float(high))


def _redrawn(samples: Numbers, statistic: Statistic, resamples: int, seed: int) -> Numbers:
    """The statistic of each resample. One generator draws edits, another one rounds."""
    edits, rounds = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    return np.concatenate([statistic(block) for block in _drawn(samples, resamples, edits, rounds)])


def _paired(first: Numbers, second: Numbers, resamples: int, seed: int) -> tuple[list[Numbers], list[Numbers]]:
    """The edits of both are drawn by one generator, the rounds by two: rounds of two runs have nothing in common."""
    rounds = np.random.default_rng(seed).spawn(2)
    size = max(first.shape[0], second.shape[0])
    return (
        _drawn(first, resamples, np.random.default_rng(seed + 1), rounds[0], size),
        _drawn(second, resamples, np.random.default_rng(seed + 1), rounds[1], size),
    )


def _drawn(
    samples: Numbers, resamples: int, edits: np.random.Generator, rounds: np.random.Generator, size: int | None = None
) -> list[Numbers]:
    count, width = samples.shape
    step = max(1, _BLOCK // max(1, (size or count) * width))
    blocks = []
    for start in range(0, resamples, step):
        draws = min(step, resamples - start)
        columns = edits.integers(0, width, (draws, 1, width))
        rows = rounds.integers(0, count, (draws, count, 1))
        blocks.append(samples[rows, columns])
    return blocks


def apart(
    first: Numbers,
    second: Numbers,
    statistic: Statistic,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return statistic(second) - statistic(first) of samples that have nothing in common, (rounds, edits) each."""
    sides = [_redrawn(samples, statistic, resamples, seed + 2 * k) for k, samples in enumerate((first, second))]
    return interval(float(statistic(second) - statistic(first)), sides[1] - sides[0], level)
