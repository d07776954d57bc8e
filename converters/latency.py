"""How long a component takes on this machine. For the user's eyes only: times never enter an artifact."""

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
