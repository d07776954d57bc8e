"""What got better or worse between two reports.

Every comparison has an interval at a level that holds for all of them together (Bonferroni), and a margin that is of no
account: a change is told when its whole interval lies beyond the margin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np

from converters.bench.intervals import Interval, Numbers, apart, difference, interval, mean, percentile
from converters.bench.measured import PROCESSOR, TOTAL, Measured
from converters.bench.summary import latencies
from edge_runtime.errors import OptionError

ERROR: Final = 0.05
"""How likely it is that two runs of the same thing show any change at all."""

RESAMPLES: Final = 10_000
SPEED_MARGIN: Final = 0.08
PROCESSOR_MARGIN: Final = 0.06
BESIDE_MARGIN: Final = 0.05
PROCESSOR_BESIDE_MARGIN: Final = 0.03
COLD_MARGIN: Final = 0.2
LEAST_COLD_STARTS: Final = 5
MEMORY_MARGIN: Final = 0.1
NODE_MARGIN: Final = 0.15
LIKE_PACE: Final = 0.1
"""How far the yardstick's usual time may differ between two reports of a machine that was as busy in both."""

THROUGHPUT_MARGIN: Final = 0.05


class Verdict(Enum):
    """What a change is."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One comparison. Of a ratio, `change` is after over before; else after less before, in `unit`."""

    what: str
    model: str
    unit: str
    ratio: bool
    change: Interval
    margin: float
    higher_is_better: bool

    @property
    def verdict(self) -> Verdict:
        """Return whether the whole interval lies beyond the margin, and on which side."""
        least = 1.0 + self.margin if self.ratio else self.margin
        if self.change.low > least:
            return Verdict.BETTER if self.higher_is_better else Verdict.WORSE
        if self.change.high < (1.0 / least if self.ratio else -least):
            return Verdict.WORSE if self.higher_is_better else Verdict.BETTER
        return Verdict.SAME

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "what": self.what, "model": self.model, "unit": self.unit, "ratio": self.ratio, **self.change.to_json(),
            "margin": self.margin, "verdict": self.verdict.value,
        }  # fmt: skip


Planned = Callable[[float], Change]
"""Makes a comparison at a level of confidence, which is known once all are counted."""


def compare(before: Measured, after: Measured) -> list[Change]:
    """Return every comparison that both reports allow; raises OptionError when they have nothing in common."""
    planned = [*_local(before, after), *_node(before, after)]
    if not planned:
        raise OptionError(
            "the two reports have nothing in common",
            got=f"{before.labels} and {after.labels}",
            hint="give models the same labels (--model LABEL=FOLDER), and the same photographs",
        )
    level = 1.0 - ERROR / len(planned)
    return [plan(level) for plan in planned]


def pairs(before: Measured, after: Measured) -> list[tuple[str, str]]:
    """Return the labels to compare: equal ones, or the only model of each report whatever it is called."""
    if len(before.labels) == len(after.labels) == 1:
        return [(before.labels[0], after.labels[0])]
    return [(label, label) for label in before.labels if label in after.labels]


def doubts(before: Measured, after: Measured) -> list[str]:
    """Return sentences about what makes the comparison weaker than it looks."""
    found = []
    if before.machine.get("processor") != after.machine.get("processor"):
        found.append("the reports come from different machines, so times say little")
    for report, name in ((before, "first"), (after, "second")):
        if not report.finished:
            found.append(f"the {name} report is unfinished: what it has is compared")
    if before.settings.get("side") != after.settings.get("side"):
        found.append("the photographs have different sizes")
    slower = after.pace() / before.pace()
    if max(slower, 1.0 / slower) > 1.0 + LIKE_PACE:
        found.append(
            f"a fixed piece of work took x {slower:.2f} as long in the second report: the machine was not as busy in "
            "both, and seconds may show a change that is none; what is beside another model holds"
        )
    return found


def _local(before: Measured, after: Measured) -> Iterator[Planned]:
    for first, second in pairs(before, after):
        name = first if first == second else f"{first} -> {second}"
        edits = [edit for edit in before.timed if edit in set(after.timed)]
        if edits:
            yield _speed(before, after, (first, second), name, edits)
            known = before.processor_known and after.processor_known
            if known:
                yield _processor(before, after, (first, second), name, edits)
            if first == second != before.labels[0] == after.labels[0]:
                yield _beside(before, after, first, TOTAL, edits)
                if known:
                    yield _beside(before, after, first, PROCESSOR, edits)
        if min(len(before.cold), len(after.cold)) >= LEAST_COLD_STARTS:
            yield _cold(before, after, (first, second), name)
        sizes = before.peak_bytes(first), after.peak_bytes(second)
        if all(sizes):
            yield _memory(name, sizes)
        for figure in before.figure_names:
            yield from _quality(before, after, (first, second), name, figure)


def _speed(before: Measured, after: Measured, labels: tuple[str, str], name: str, edits: Sequence[str]) -> Planned:
    """The fastest round of each edit: what else a machine does only adds, and rounds are minutes apart.

    Told when it shows in seconds and in units of the yardstick: another load on the machine shows in one of them.
    """
    sides = _fastest(before, after, labels, TOTAL, edits)
    faster = _yardsticks(before, after)

    def at(level: float) -> Change:
        found = difference(*sides, mean, level, RESAMPLES)
        return _ratio("time of an edit", name, _both(found, faster), SPEED_MARGIN)

    return at


def _processor(before: Measured, after: Measured, labels: tuple[str, str], name: str, edits: Sequence[str]) -> Planned:
    """Likewise: processor time grows too, though less, when others share caches and cores."""
    sides = _fastest(before, after, labels, PROCESSOR, edits)
    faster = _yardsticks(before, after, PROCESSOR)

    def at(level: float) -> Change:
        found = difference(*sides, mean, level, RESAMPLES)
        return _ratio("processor time of an edit", name, _both(found, faster), PROCESSOR_MARGIN)

    return at


def _beside(before: Measured, after: Measured, label: str, what: str, edits: Sequence[str]) -> Planned:
    """Relative to the first model, which took turns with this one: whatever slowed the machine slowed both."""
    control = before.labels[0]
    model = _fastest(before, after, (label, label), what, edits)
    other = _fastest(before, after, (control, control), what, edits)
    word, margin = ("time", BESIDE_MARGIN) if what == TOTAL else ("processor time", PROCESSOR_BESIDE_MARGIN)

    def at(level: float) -> Change:
        found = difference(model[0] - other[0], model[1] - other[1], mean, level, RESAMPLES)
        return _ratio(f"{word} beside {control}", label, found, margin)

    return at


def _fastest(
    before: Measured, after: Measured, labels: tuple[str, str], what: str, edits: Sequence[str]
) -> tuple[Numbers, Numbers]:
    """Logarithms of the seconds of both sides, (1, edits)."""
    first, second = (
        np.log(report.seconds(label, what, edits).min(0, keepdims=True))
        for report, label in zip((before, after), labels, strict=True)
    )
    return first, second


def _yardsticks(before: Measured, after: Measured, what: str = TOTAL) -> float:
    """Logarithm of how much faster the machine was at the second report."""
    return float(np.log(before.yardstick(what)) - np.log(after.yardstick(what)))


def _both(found: Interval, faster: float) -> Interval:
    """Return the interval that covers the seconds and the units of the yardstick."""
    low, high = sorted((0.0, faster))
    return Interval(value=found.value, low=found.low + low, high=found.high + high)


def _cold(before: Measured, after: Measured, labels: tuple[str, str], name: str) -> Planned:
    """From the fastest after over the slowest before, to the opposite: starts are too few for anything finer.

    Of five and five of one kind, all of one side are faster in less than one case of a hundred.
    """
    first, second = (
        np.log(report.cold_seconds(label, "first_edit")) for report, label in zip((before, after), labels, strict=True)
    )
    found = Interval(
        value=float(np.median(second) - np.median(first)),
        low=float(second.min() - first.max()),
        high=float(second.max() - first.min()),
    )
    both = _both(found, _yardsticks(before, after))
    return lambda level: _ratio("cold start to the first edit", name, both, COLD_MARGIN)


def _memory(name: str, sizes: Sequence[int | None]) -> Planned:
    """One figure a run: its interval is itself."""
    value = float(np.log(float(sizes[1] or 1) / float(sizes[0] or 1)))
    return lambda level: _ratio("peak memory", name, Interval(value=value, low=value, high=value), MEMORY_MARGIN)


def _quality(before: Measured, after: Measured, labels: tuple[str, str], name: str, figure: str) -> Iterator[Planned]:
    first, second = before.figure(labels[0], figure), after.figure(labels[1], figure)
    edits = [edit for edit in first if edit in second]
    if not edits:
        return
    kind = before.kind(figure)
    sides = [np.array([[side[edit] for edit in edits]], np.float64) for side in (first, second)]

    def at(level: float) -> Change:
        found = difference(sides[0], sides[1], mean, level, RESAMPLES)
        return Change(
            what=figure, model=name, unit=kind["unit"], ratio=False, change=found, margin=kind["margin"],
            higher_is_better=kind["higher_is_better"],
        )  # fmt: skip

    yield at


def _node(before: Measured, after: Measured) -> Iterator[Planned]:
    rates = {entry["rate"]: entry for entry in after.rates}
    for entry in before.rates:
        other = rates.get(entry["rate"])
        if other is None:
            continue
        sides = [np.log(latencies(side)) for side in (entry, other)]
        if all(side.size for side in sides):
            for name, statistic in (("p50", percentile(50)), ("p95", percentile(95))):
                yield _latency(f"{name} at {entry['rate']:g} edits a second", sides, statistic)
        yield _throughput(f"throughput at {entry['rate']:g} edits a second", entry, other)


def _latency(what: str, sides: Sequence[Any], statistic: Any) -> Planned:
    return lambda level: _ratio(what, "node", apart(sides[0], sides[1], statistic, level, RESAMPLES), NODE_MARGIN)


def _throughput(what: str, entry: Any, other: Any) -> Planned:
    """The share of the arrivals that was done: how many arrived was drawn."""
    shares = [np.array([arrival["status"] == 200 for arrival in side["arrivals"]], float) for side in (entry, other)]

    def at(level: float) -> Change:
        generator = np.random.default_rng(0)
        drawn = [generator.binomial(len(side), side.mean(), RESAMPLES) / len(side) for side in shares]
        value = float(shares[1].mean() - shares[0].mean())
        return Change(
            what=what, model="node", unit="of arrivals", ratio=False, margin=THROUGHPUT_MARGIN, higher_is_better=True,
            change=interval(value, drawn[1] - drawn[0], level),
        )  # fmt: skip

    return at


def _ratio(what: str, name: str, found: Interval, margin: float) -> Change:
    value, low, high = (float(np.exp(end)) for end in (found.value, found.low, found.high))
    return Change(
        what=what,
        model=name,
        unit="",
        ratio=True,
        change=Interval(value=value, low=low, high=high),
        margin=margin,
        higher_is_better=False,
    )
