"""The plots of a report, each as one SVG picture. matplotlib draws; nothing is shown on a screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from converters.bench.measured import TOTAL, Measured
from converters.bench.summary import stages

COLOURS: Final = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626", "#0891b2", "#a16207", "#475569")
STYLE: Final[Any] = {
    "font.family": "sans-serif", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#94a3b8", "axes.labelcolor": "#334155", "xtick.color": "#475569", "ytick.color": "#475569",
    "axes.grid": True, "grid.color": "#e2e8f0", "axes.axisbelow": True, "legend.frameon": False, "svg.fonttype": "none",
    "svg.hashsalt": "nanoedge",
}  # fmt: skip
_LIKENESS: Final = ("psnr_parent", "psnr_wanted", "psnr_definition")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A picture with its title and a sentence on how to read it."""

    title: str
    reading: str
    svg: bytes


def plots(measured: Measured, summary: Mapping[str, Any]) -> list[Plot]:
    """Return the plots that there are figures for."""
    made = []
    with mpl.rc_context(STYLE):
        if measured.timed:
            made += [_latency(measured), _stages(measured, summary)]
        made += _against(measured, summary)
        if summary["node"]:
            made.append(_node(summary["node"]))
    return made


def _latency(measured: Measured) -> Plot:
    def draw(axes: Axes) -> None:
        for colour, label in zip(_colours(measured.labels), measured.labels, strict=True):
            milliseconds = np.sort(1000 * measured.seconds(label).ravel())
            axes.step(milliseconds, np.arange(1, len(milliseconds) + 1) / len(milliseconds), color=colour, label=label)
        axes.set(xscale="log", xlabel="milliseconds an edit", ylabel="share of edits done", ylim=(0, 1.02))
        axes.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        axes.legend(loc="lower right")

    return _plot("Latency", "How many edits are done within a time. Further left is faster.", draw)


def _stages(measured: Measured, summary: Mapping[str, Any]) -> Plot:
    names = stages(measured)

    def draw(axes: Axes) -> None:
        left = np.zeros(len(measured.labels))
        for colour, stage in zip(_colours(names), names, strict=True):
            widths = [1000 * _mean_over_all(measured, label, stage) for label in measured.labels]
            axes.barh(measured.labels, widths, left=left, color=colour, label=stage, height=0.6)
            left += np.array(widths)
        for place, label in enumerate(measured.labels):
            total = 1000 * summary["speed"][label][TOTAL]["mean"]["value"]
            axes.text(left[place], place, f"  {total:.0f} ms", va="center", color="#334155")
        axes.set(xlabel="milliseconds an edit, on the average", xlim=(0, 1.15 * left.max()))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.legend(ncols=min(4, len(names)), loc="upper center", bbox_to_anchor=(0.5, -0.18))

    return _plot("Where the time goes", "Stages that an edit doesn't need count as nothing.", draw)


def _mean_over_all(measured: Measured, label: str, stage: str) -> float:
    found = measured.seconds(label, stage)
    return float(found.sum() / max(1, measured.seconds(label).size))


def _against(measured: Measured, summary: Mapping[str, Any]) -> list[Plot]:
    """Quality against size and against latency, by the first likeness that two models have."""
    name = next(
        (name for name in _LIKENESS if sum(name in summary["quality"][label] for label in measured.labels) > 1), ""
    )
    if not name:
        return []
    labels = [label for label in measured.labels if name in summary["quality"][label]]
    sizes = {model["label"]: model["bytes"] / 1e6 for model in measured.models}
    quality = {label: summary["quality"][label][name] for label in labels}
    reading = f"Each model with the 95 % interval of {name}. Better is up and to the left."
    made = [
        _plot(
            "Quality against size",
            reading,
            _points(measured.labels, labels, quality, {k: (v, v, v) for k, v in sizes.items()}, "MB", name),
        )
    ]
    if measured.timed:
        times = {
            label: tuple(1000 * summary["speed"][label][TOTAL]["mean"][end] for end in ("value", "low", "high"))
            for label in labels
        }
        made.append(
            _plot(
                "Quality against latency",
                reading,
                _points(measured.labels, labels, quality, times, "milliseconds an edit", name),
            )
        )
    return made


def _points(
    every: Sequence[str],
    labels: Sequence[str],
    quality: Mapping[str, Any],
    across: Mapping[str, tuple[float, ...]],
    what: str,
    name: str,
) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        colours = dict(zip(every, _colours(every), strict=True))
        for label in labels:
            colour = colours[label]
            (x, left, right), y = across[label], quality[label]
            axes.errorbar(
                x,
                y["value"],
                yerr=[[y["value"] - y["low"]], [y["high"] - y["value"]]],
                xerr=[[x - left], [right - x]],
                fmt="o",
                color=colour,
                capsize=3,
                markersize=7,
            )
            axes.annotate(label, (x, y["value"]), textcoords="offset points", xytext=(9, 7), color=colour)
        axes.set(xlabel=what, ylabel=f"{name}, dB")
        axes.margins(0.25)

    return draw


def _node(rates: Sequence[Mapping[str, Any]]) -> Plot:
    def draw(axes: Axes) -> None:
        shown = [rate for rate in rates if "p50" in rate]
        for colour, name in zip(COLOURS, ("p50", "p95", "p99"), strict=False):
            values = [rate[name] for rate in shown]
            across = [rate["rate"] for rate in shown]
            axes.plot(across, [value["value"] for value in values], "o-", color=colour, label=name)
            axes.fill_between(
                across,
                [value["low"] for value in values],
                [value["high"] for value in values],
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
        for rate in rates:
            share = 100 * rate["refused"] / max(1, rate["arrivals"])
            axes.annotate(
                f"{rate['throughput']:.1f}/s done\n{share:.0f} % refused",
                (rate["rate"], 0.02),
                xycoords=("data", "axes fraction"),
                ha="center",
                fontsize=8,
                color="#64748b",
            )
        axes.set(xlabel="edits that arrive a second", ylabel="seconds", ylim=(0, None))
        axes.margins(x=0.15, y=0.2)
        axes.legend(loc="upper left")

    return _plot("Node under load", "Latency from when an edit was due, of those that were done. Bands: 95 %.", draw)


def _plot(title: str, reading: str, draw: Callable[[Axes], None]) -> Plot:
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    draw(figure.subplots())
    buffer = BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return Plot(title=title, reading=reading, svg=buffer.getvalue())


def _colours(names: Sequence[str]) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(len(names))]
