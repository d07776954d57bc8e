"""Times of things side by side: what else the machine does must hit all alike, and the ratio comes with an interval."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Job = Callable[[], float]
"""Does something once and returns the seconds that it took."""

DRAWS = 2000


def timed(action: Callable[[], object], threads: int) -> Job:
    """Return a job that takes the time of `action`: of one thread the processor's, which other work hardly changes."""
    clock = time.process_time if threads == 1 else time.perf_counter

    def run() -> float:
        began = clock()
        action()
        return clock() - began

    return run


def interleaved(jobs: Mapping[str, Job], rounds: int) -> dict[str, NDArray[np.float64]]:
    """Return the seconds of each job in each round; every round has all of them, in an order drawn anew."""
    order = random.Random(0)
    for job in jobs.values():
        job()
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name in order.sample(list(jobs), len(jobs)):
            taken[name].append(jobs[name]())
    return {name: np.array(seconds) for name, seconds in taken.items()}


def ratio(seconds: NDArray[np.float64], base: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return how many times as long as `base` something takes, by medians, and the 95 % interval over rounds."""
    drawn = np.random.default_rng(0).integers(0, len(base), (DRAWS, len(base)))
    ratios = np.median(seconds[drawn], axis=1) / np.median(base[drawn], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(np.median(seconds) / np.median(base)), float(low), float(high)


def told(seconds: NDArray[np.float64], base: NDArray[np.float64]) -> str:
    """Return a ratio for a table, to two digits: `1.4 (1.3 to 1.5)`."""
    value, low, high = (np.format_float_positional(one, 2, fractional=False, trim="-") for one in ratio(seconds, base))
    return f"{value} ({low} to {high})"
