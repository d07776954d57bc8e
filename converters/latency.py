"""How long a component takes on this machine. Times never enter an artifact; that int8 was slower than float may."""

from __future__ import annotations

import statistics
import time
from typing import Final

from converters.source import Arrays
from converters.target import Runner

MAX_RUNS: Final = 30
MAX_SECONDS: Final = 1.5
WARM_UP_RUNS: Final = 3


def median_milliseconds(runner: Runner, inputs: Arrays) -> float:
    """Return the median time of up to 30 runs, taken within about 1.5 seconds."""
    for _ in range(WARM_UP_RUNS):
        runner(inputs)
    times: list[float] = []
    deadline = time.perf_counter() + MAX_SECONDS
    while len(times) < MAX_RUNS and (not times or time.perf_counter() < deadline):
        start = time.perf_counter()
        runner(inputs)
        times.append(1000.0 * (time.perf_counter() - start))
    return statistics.median(times)


def slowdown(runner: Runner, reference: Runner, inputs: Arrays) -> float:
    """Return the shortest time over the reference's, run in turn: on a busy machine the shortest are the true ones."""
    times: dict[bool, list[float]] = {True: [], False: []}
    deadline = time.perf_counter() + 2 * MAX_SECONDS
    for turn in range(2 * (MAX_RUNS + WARM_UP_RUNS)):
        own = turn % 2 == 0
        start = time.perf_counter()
        (runner if own else reference)(inputs)
        times[own].append(time.perf_counter() - start)
        if not own and turn > 4 * WARM_UP_RUNS and time.perf_counter() > deadline:
            break
    return min(times[True]) / min(times[False])
