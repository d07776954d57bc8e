"""Draws the logs of trainings: what was learned, and what was measured on held-out data meanwhile.

    python -m converters.nano_banana.plots [--runs runs] [--out docs/training]

One picture for each network whose log is in the folder of runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib.pyplot as pyplot
from matplotlib.axes import Axes

LOGS: Final = ("metrics.jsonl", "log.jsonl")
LEARNED: Final = ("loss", "error")
PROGRESS: Final = frozenset(
    {"fraction", "seconds", "steps", "step", "samples", "side", "pace", "stage", "calibration", "woken"}
)
SIZE_INCHES: Final = (11.0, 4.2)

Curves = dict[str, list[tuple[float, float]]]
"""Name -> (minutes of training, value), in order of time."""


def curves(log: Path) -> Curves:
    """Return every measured value of a log by name; values inside others are named `outer / inner`."""
    found: Curves = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        for name, value in _values({key: value for key, value in record.items() if key not in PROGRESS}):
            found.setdefault(name, []).append((record["seconds"] / 60, value))
    return found


def _values(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _values(value, f"{prefix}{key} / ")
        elif isinstance(value, (int, float)):
            yield prefix + key, float(value)


def draw(title: str, found: Curves, destination: Path) -> None:
    """Write a picture: on the left what is minimised, on the right what was measured."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=SIZE_INCHES, layout="constrained")
    learned = {name: points for name, points in found.items() if name in LEARNED}
    _draw(left, learned)
    # "strength" says how well amounts are met where the plan is right: of a plan's rightness it says nothing
    _draw(right, {n: points for n, points in found.items() if n not in learned and not n.endswith("strength")})
    left.set_title(f"{title}: training")
    right.set_title("held out")
    figure.savefig(destination, dpi=100)
    pyplot.close(figure)


def _draw(axes: Axes, found: Curves) -> None:
    for name, points in sorted(found.items()):
        minutes, values = zip(*points, strict=True)
        axes.plot(minutes, values, label=name, marker="." if len(points) < 40 else None)
    axes.set_xlabel("minutes of training")
    axes.grid(alpha=0.3)
    if found:
        axes.legend(fontsize=6)


def main() -> None:
    """Draw from the command line."""
    parser = argparse.ArgumentParser(description="Draw the logs of trainings.")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("docs/training"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for log in sorted(path for name in LOGS for path in options.runs.glob(f"*/{name}")):
        draw(log.parent.name, curves(log), options.out / f"{log.parent.name}.png")


if __name__ == "__main__":
    main()
