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

SLOWEST: Final = 1.1
"""How much slower than float a quantised component may be measured: times differ by as much between two runs."""

MOST_MILLISECONDS: Final = 2.0
"""So much longer it may take in any case: half the bytes are worth it, and busy machines must not decide otherwise."""


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


def is_slower(runner: Runner, reference: Runner, inputs: Arrays) -> bool:
    """Return whether a runner takes longer than the reference, by what a person or a server would notice.

    Both run in turn, and the shortest times count: on a busy machine these are the true ones.
    """
    times: dict[bool, list[float]] = {True: [], False: []}
    deadline = time.perf_counter() + 2 * MAX_SECONDS
    for turn in range(2 * (MAX_RUNS + WARM_UP_RUNS)):
        own = turn % 2 == 0
        start = time.perf_counter()
        (runner if own else reference)(inputs)
        times[own].append(1000.0 * (time.perf_counter() - start))
        if not own and turn > 4 * WARM_UP_RUNS and time.perf_counter() > deadline:
            break
    own_milliseconds, reference_milliseconds = min(times[True]), min(times[False])
    return (
        own_milliseconds > SLOWEST * reference_milliseconds
        and own_milliseconds - reference_milliseconds > MOST_MILLISECONDS
    )
