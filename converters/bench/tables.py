"""The tables of a report, as rows of text: Markdown and HTML show the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from converters.bench.measured import PROCESSOR, TOTAL, Measured
from converters.bench.summary import STATISTICS, stages

MEANINGS: Final = {
    "parent": "against the float parent's picture: what rounding cost",
    "wanted": "against the picture that was asked for, by the adjustments' definition, or before damage",
    "definition": "against the model's own plan, carried out by the adjustments' definition",
    "preservation": "what had to stay, photo against result; doing nothing is best here, and worst in `wanted`",
    "plan_accuracy": "share of instructions whose plan is right; of impossible ones, that the model says so",
    "mask_iou": "the model's mask of the subject against the given one",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table under its title; `notes` are sentences below it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def tables(measured: Measured, summary: Mapping[str, Any]) -> list[Table]:
    """Return every table that has rows, the most asked for first."""
    made = [
        _overview(measured, summary), _quality(measured, summary), _stages(measured, summary),
        _cold(measured, summary), _scenarios(measured, summary), _node(summary),
    ]  # fmt: skip
    return [table for table in made if table.rows]


def _overview(measured: Measured, summary: Mapping[str, Any]) -> Table:
    rows = []
    for model in measured.models:
        label = model["label"]
        speed = summary["speed"].get(label, {}).get(TOTAL)
        times = [_ms(speed[name]) if speed else "" for name in STATISTICS]
        used = summary["speed"].get(label, {}).get(PROCESSOR)
        first = label == measured.labels[0]
        ratios = [
            "1" if first else _interval(found[label], 3) if label in found else ""
            for found in (summary["ratios"], summary["processor_ratios"])
        ]
        peak = summary["peak_bytes"][label]
        rows.append([
            label, f"{model['family']} {model['recipe']} {model['target']}", f"{model['bytes'] / 1e6:.1f}", *times,
            _ms(used["mean"]) if used else "", *ratios, "" if peak is None else f"{peak / 1e6:.0f}",
        ])  # fmt: skip
    header = [
        "model",
        "what",
        "MB",
        *(f"{name} ms" for name in STATISTICS),
        "processor ms",
        "time, ratio",
        "processor, ratio",
        "peak MB",
    ]
    return Table(title="Speed and size", header=header, rows=rows, notes=_speed_notes(measured))


def _speed_notes(measured: Measured) -> list[str]:
    if not measured.timed:
        return []
    rounds = measured.seconds(measured.labels[0]).shape[0]
    return [
        f"{len(measured.timed)} edits in {rounds} round{'s' * (rounds != 1)}, each model in a process of its own, the "
        "models taking turns on every edit; photo and result as JPEG or PNG, decoding and encoding included. "
        "Brackets: 95 % intervals, over rounds and edits. Ratios are to the first model, edit by edit. Processor: mean "
        "time of all threads, waiting left out; it changes little with what else the machine does."
    ]


def _quality(measured: Measured, summary: Mapping[str, Any]) -> Table:
    names = measured.figure_names
    rows = []
    for name in names:
        kind = measured.kind(name)
        cells = []
        for label in measured.labels:
            found = summary["quality"][label].get(name)
            cells.append(f"{_interval(found, kind['digits'])}, n {found['edits']}" if found else "")
        arrow = "higher is better" if kind["higher_is_better"] else "lower is better"
        rows.append([f"{name}{' ' * bool(kind['unit'])}{kind['unit']}", *cells, arrow])
    for name in dict.fromkeys(name for found in summary["sets"].values() for name in found):
        values = [summary["sets"].get(label, {}).get(name) for label in measured.labels]
        rows.append([f"{name}, all edits together", *("" if v is None else f"{v:.2f}" for v in values), ""])
    notes = [f"{name}: {meaning}." for name, meaning in MEANINGS.items() if any(name in found for found in names)]
    notes += [f"{name} was not measured: {why}." for name, why in measured.missing.items()]
    if names and not any(model["parent"] for model in measured.models):
        notes.append("Nothing was compared with a float parent: there was none; name one with --parent.")
    if not any(name.startswith("mask_iou") for name in names) and names:
        notes.append("mask_iou was not measured: no masks were given (--masks).")
    return Table(title="Quality", header=["figure", *measured.labels, ""], rows=rows, notes=notes)


def _stages(measured: Measured, summary: Mapping[str, Any]) -> Table:
    rows = []
    for label in measured.labels:
        for stage in (*stages(measured), TOTAL):
            found = summary["speed"].get(label, {}).get(stage)
            if found:
                rows.append([label, stage, str(found["edits"]), *(_ms(found[name]) for name in STATISTICS)])
    notes = ["Milliseconds of the edits that have the stage."] if rows else []
    header = ["model", "stage", "edits", *(f"{name} ms" for name in STATISTICS)]
    return Table(title="Stages", header=header, rows=rows, notes=notes)


def _cold(measured: Measured, summary: Mapping[str, Any]) -> Table:
    rows = [
        [label, *(_interval(found[what], 2) for what in ("opened", "first_edit"))]
        for label, found in summary["cold"].items()
    ]
    notes = [f"Median of {len(measured.cold)} new processes, fastest and slowest in brackets."] if rows else []
    return Table(
        title="Cold start", header=["model", "open after s", "first edit done after s"], rows=rows, notes=notes
    )


def _scenarios(measured: Measured, summary: Mapping[str, Any]) -> Table:
    shown = [
        name
        for name in ("plan_accuracy", "psnr_wanted", "psnr_parent", "preservation")
        if name in measured.figure_names
    ]
    rows = []
    for member in ("scenarios", "languages"):
        groups = dict.fromkeys(group for label in measured.labels for group in summary[member][label])
        for group in groups:
            cells = []
            for name in shown:
                digits = measured.kind(name)["digits"]
                values = [summary[member][label].get(group, {}).get(name) for label in measured.labels]
                cells.append(" / ".join("-" if value is None else f"{value:.{digits}f}" for value in values))
            rows.append([group, *cells])
    return Table(
        title="Scenarios and languages", header=["", *shown], rows=rows,
        notes=[f"Means: {' / '.join(measured.labels)}."] if rows else [],
    )  # fmt: skip


def _node(summary: Mapping[str, Any]) -> Table:
    rows = []
    for found in summary["node"]:
        times = [_ms(found[name]) if name in found else "" for name in STATISTICS]
        rows.append([
            f"{found['rate']:g}", str(found["arrivals"]), str(found["done"]), str(found["refused"]),
            str(found["failed"]), f"{found['throughput']:.2f}", *times, "yes" if found["keeps_up"] else "no",
        ])  # fmt: skip
    notes = [] if not rows else [_saturated(summary["saturation"])]
    if rows:
        notes.append(
            "Open loop: edits arrive at random, at this rate on the average, whatever the node answers; latency counts "
            "from when an edit was due. Refused: 503 with Retry-After."
        )
        late = max(found["late_p95"] for found in summary["node"])
        notes.append(f"The client itself was up to {1000 * late:.0f} ms late (p95).")
    header = [
        "edits a second", "arrivals", "done", "refused", "failed", "done a second", *(f"{n} ms" for n in STATISTICS),
        "keeps up",
    ]  # fmt: skip
    return Table(title="Node", header=header, rows=rows, notes=notes)


def _saturated(found: Mapping[str, Any]) -> str:
    kept, lost, most = found["keeps_up"], found["falls_behind"], found["throughput"]
    if lost is None:
        return f"The node keeps up with every rate that was tried, up to {kept:g} edits a second."
    if kept is None:
        return f"The node falls behind at the lowest rate already, {lost:g} edits a second; it does {most:.2f} at most."
    return f"Saturation: between {kept:g} and {lost:g} edits a second; it does {most:.2f} at most."


def _ms(found: Mapping[str, float]) -> str:
    value, low, high = (1000 * found[name] for name in ("value", "low", "high"))
    digits = 1 if value < 10 else 0
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _interval(found: Mapping[str, float], digits: int) -> str:
    return f"{found['value']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"
