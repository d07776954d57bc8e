"""Figures of a bench with their intervals, computed from what was measured; the tables and plots show these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from converters.bench.intervals import Interval, Numbers, Statistic, bootstrap, mean, percentile, typical
from converters.bench.measured import PROCESSOR, TOTAL, Measured

STATISTICS: Final[Mapping[str, Statistic]] = {
    "mean": mean, "p50": percentile(50), "p95": percentile(95), "p99": percentile(99),
}  # fmt: skip
STAGES: Final = (
    "decode",
    "text",
    "vision",
    "restore",
    "auto",
    "context",
    "render",
    "photo",
    "denoise",
    "paint",
    "encode",
)
MOST_REFUSED: Final = 0.01
"""Of the arrivals: a node that refuses more, or fails at more, doesn't keep up."""

MOST_GROWTH: Final = 0.05
"""Of the time: one whose queue grows by more from the first third of the arrivals to the last falls behind."""

BLOCKS: Final = 10
"""Pieces of time that the arrivals at a rate are cut into: neighbours wait in one queue and aren't independent."""


def summary(measured: Measured) -> dict[str, Any]:
    """Return all figures as JSON."""
    return {
        "speed": {label: _speed(measured, label) for label in measured.labels if measured.timed},
        "ratios": _ratios(measured, TOTAL),
        "processor_ratios": _ratios(measured, PROCESSOR) if measured.processor_known else {},
        "cold": {label: _cold(measured, label) for label in measured.labels if measured.cold},
        "peak_bytes": {label: measured.peak_bytes(label) for label in measured.labels},
        "quality": {label: _quality(measured, label) for label in measured.labels},
        "sets": {label: figures for entry in measured.sets for label, figures in entry["models"].items()},
        "scenarios": {label: _groups(measured, label, "scenario") for label in measured.labels},
        "languages": {label: _groups(measured, label, "language") for label in measured.labels},
        "node": [_rate(entry) for entry in measured.rates],
        "saturation": _saturation([_rate(entry) for entry in measured.rates]),
    }


def stages(measured: Measured) -> list[str]:
    """Return the stages that some edit went through, in the order of an edit."""
    found = {stage for entry in measured.times for model in entry["models"].values() for stage in model["stages"]}
    return [*(stage for stage in STAGES if stage in found), *sorted(found - {*STAGES})]


def latencies(entry: Mapping[str, Any]) -> Numbers:
    """Return the seconds of the edits that were done at a rate, (blocks of time, edits)."""
    done = [arrival["seconds"] for arrival in entry["arrivals"] if arrival["status"] == 200]
    count = min(BLOCKS, len(done))
    width = len(done) // count if count else 0
    return np.array(done[: count * width], np.float64).reshape(count, width)


def _speed(measured: Measured, label: str) -> dict[str, Any]:
    found = {}
    for stage in (TOTAL, *stages(measured), *([PROCESSOR] if measured.processor_known else [])):
        seconds = measured.seconds(label, stage)
        if seconds.size:
            found[stage] = {
                "edits": seconds.shape[1], "rounds": seconds.shape[0],
                **{name: bootstrap(seconds, statistic).to_json() for name, statistic in STATISTICS.items()},
            }  # fmt: skip
    return found


def _ratios(measured: Measured, what: str) -> dict[str, Any]:
    """Seconds of each model over those of the first, edit by edit: the mean ratio is a geometric one."""
    if not measured.timed:
        return {}
    first, *others = measured.labels
    standard = np.log(measured.seconds(first, what))
    return {
        label: _exponential(bootstrap(np.log(measured.seconds(label, what)) - standard, typical)) for label in others
    }


def _exponential(found: Interval) -> dict[str, float]:
    return {name: float(np.exp(value)) for name, value in found.to_json().items()}


def _cold(measured: Measured, label: str) -> dict[str, Any]:
    """The median, between the fastest and the slowest start: there are few."""
    found = {}
    for what in ("opened", "first_edit"):
        seconds = measured.cold_seconds(label, what)
        found[what] = Interval(
            value=float(np.median(seconds)), low=float(seconds.min()), high=float(seconds.max())
        ).to_json()
    return found


def _quality(measured: Measured, label: str) -> dict[str, Any]:
    found = {}
    for name in measured.figure_names:
        values = measured.figure(label, name)
        if values:
            drawn = bootstrap(np.array([[*values.values()]], np.float64), mean)
            found[name] = {"edits": len(values), **drawn.to_json()}
    return found


def _groups(measured: Measured, label: str, member: str) -> dict[str, dict[str, float]]:
    """Means of every figure over the edits of each scenario or language."""
    case = {entry["edit"]: entry["edit"].partition("/")[0] for entry in measured.quality}
    group = {found["id"]: found[member] for found in measured.cases}
    means: dict[str, dict[str, list[float]]] = {}
    for name in measured.figure_names:
        for edit, value in measured.figure(label, name).items():
            means.setdefault(group[case[edit]], {}).setdefault(name, []).append(value)
    return {key: {name: float(np.mean(values)) for name, values in found.items()} for key, found in means.items()}


def _rate(entry: Mapping[str, Any]) -> dict[str, Any]:
    arrivals: Sequence[Mapping[str, Any]] = entry["arrivals"]
    done = sum(arrival["status"] == 200 for arrival in arrivals)
    refused = sum(arrival["status"] == 503 for arrival in arrivals)
    seconds = latencies(entry)
    return {
        "rate": entry["rate"], "arrivals": len(arrivals), "done": done, "refused": refused,
        "failed": len(arrivals) - done - refused, "throughput": done / entry["seconds"],
        "late_p95": float(np.percentile([arrival["late"] for arrival in arrivals] or [0.0], 95)),
        "retry_p50": float(np.median([a["retry_seconds"] for a in arrivals if a["status"] == 503] or [0.0])),
        "keeps_up": len(arrivals) - done <= MOST_REFUSED * len(arrivals) and _growth(arrivals) <= MOST_GROWTH,
        **{name: bootstrap(seconds, statistic).to_json() for name, statistic in STATISTICS.items() if seconds.size},
    }  # fmt: skip


def _growth(arrivals: Sequence[Mapping[str, Any]]) -> float:
    """How much longer the last third waits than the first, as a share of the time in which they arrived."""
    seconds = [arrival["seconds"] for arrival in arrivals]
    third = len(seconds) // 3
    if not third:
        return 0.0
    return float(np.median(seconds[-third:]) - np.median(seconds[:third])) / float(arrivals[-1]["due"])


def _saturation(rates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Between which rates the node begins to fall behind, and the most edits a second that it did."""
    lost = min((rate["rate"] for rate in rates if not rate["keeps_up"]), default=None)
    kept = [rate["rate"] for rate in rates if rate["keeps_up"] and (lost is None or rate["rate"] < lost)]
    return {
        "keeps_up": max(kept, default=None),
        "falls_behind": lost,
        "throughput": max((r["throughput"] for r in rates), default=None),
    }
