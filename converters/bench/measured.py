"""What a bench measured, raw: the member of report.json that summaries, plots and comparisons are computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.bench.intervals import Numbers
from edge_runtime.errors import OptionError

FORMAT_VERSION: Final = 1
FILE: Final = "report.json"
TOTAL: Final = "total"
PROCESSOR: Final = "processor"
"""Not a stage: processor time of all threads, where the system tells it."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All of it, as JSON has it. The last lists are the journal's entries by kind.

    `models` are those of this machine; `node` is what was asked elsewhere, None without one. `missing` says which
    metrics could not be measured, and why. `finished`: nothing of what was asked for is left.
    """

    suite: Mapping[str, Any]
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    models: Sequence[Mapping[str, Any]]
    photos: Sequence[Mapping[str, Any]]
    cases: Sequence[Mapping[str, Any]]
    edits: Sequence[Mapping[str, Any]]
    figures: Mapping[str, Any]
    missing: Mapping[str, str]
    node: Mapping[str, Any] | None
    times: Sequence[Mapping[str, Any]]
    quality: Sequence[Mapping[str, Any]]
    sets: Sequence[Mapping[str, Any]]
    cold: Sequence[Mapping[str, Any]]
    memory: Sequence[Mapping[str, Any]]
    rates: Sequence[Mapping[str, Any]]
    finished: bool

    @classmethod
    def read(cls, folder: Path) -> Measured:
        """Read a report's folder, or its report.json; raises OptionError."""
        path = folder / FILE if folder.is_dir() else folder
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT_VERSION:
                raise ValueError(f"format {data['format']}, not {FORMAT_VERSION}")
            return cls(**{field.name: data[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OptionError(
                "this is no report of nanoedge bench", got=f"{path}: {error}", hint="name the folder given with -o"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return all members, with the format's version."""
        return {"format": FORMAT_VERSION, **{field.name: getattr(self, field.name) for field in fields(self)}}

    @property
    def labels(self) -> list[str]:
        """Return the labels of the models of this machine, in the order in which they were given."""
        return [model["label"] for model in self.models]

    def seconds(self, label: str, stage: str = TOTAL, edits: Sequence[str] | None = None) -> Numbers:
        """Return the seconds of a model, (rounds, edits): of the whole edit, or of a stage and the edits that have it.

        Rounds that were not finished are left out when there is one that was. `edits` says which, in this order.
        """
        rounds = self._rounds()
        names = [name for name in (edits if edits is not None else self.timed)]
        rows = [[_of(entries[name], label, stage) for name in names] for entries in rounds]
        found = np.array(rows, np.float64).reshape(len(rows), len(names))
        return found if stage in (TOTAL, PROCESSOR) else found[:, (found > 0.0).all(0)]

    def yardstick(self, what: str = TOTAL, percentile: float = 10) -> float:
        """Return how long the yardstick took when the machine was little disturbed; 1 when it was never laid on."""
        readings = [float(entry["yardstick"][what]) for entry in (*self.times, *self.cold)]
        return float(np.percentile(readings, percentile)) if readings else 1.0

    def pace(self) -> float:
        """Return how long the yardstick usually took: longer the busier the machine was."""
        return self.yardstick(percentile=50)

    @property
    def processor_known(self) -> bool:
        """Tell whether the processor time of every edit was measured."""
        return bool(self.times) and all(
            model[PROCESSOR] is not None for entry in self.times for model in entry["models"].values()
        )

    @property
    def timed(self) -> list[str]:
        """Return the names of the edits that have times in all rounds that count."""
        rounds = self._rounds()
        return [name for name in rounds[0] if all(name in entries for entries in rounds)] if rounds else []

    def cold_seconds(self, label: str, what: str) -> Numbers:
        """Return seconds from the start of a process, (1, starts): until it is `opened` or the `first_edit` is done."""
        return np.array([[entry["models"][label][what] for entry in self.cold]], np.float64)

    def peak_bytes(self, label: str) -> int | None:
        """Return the most memory that the model's process held; None where the system doesn't say."""
        found = [entry["peak_bytes"] for entry in self.memory if entry["model"] == label and entry["peak_bytes"]]
        return max(found, default=None)

    def figure(self, label: str, name: str) -> dict[str, float]:
        """Return a figure of quality by the name of the edit."""
        return {
            entry["edit"]: entry["models"][label]["figures"][name]
            for entry in self.quality
            if name in entry["models"][label]["figures"]
        }

    @property
    def figure_names(self) -> list[str]:
        """Return the names of all figures of quality, in the order of `figures`, each with what it compares with."""
        found = {name for entry in self.quality for model in entry["models"].values() for name in model["figures"]}
        return sorted(found, key=lambda name: (_place(name, self.figures), name))

    def kind(self, name: str) -> Mapping[str, Any]:
        """Return the unit, the direction and the margin of a figure of quality."""
        found: Mapping[str, Any] = self.figures[metric_of(name, self.figures)]
        return found

    def _rounds(self) -> list[dict[str, Mapping[str, Any]]]:
        """The entries of each round by edit: all finished rounds, or the first as far as it came."""
        rounds: dict[int, dict[str, Mapping[str, Any]]] = {}
        for entry in self.times:
            rounds.setdefault(entry["round"], {})[entry["edit"]] = entry
        ordered = [rounds[number] for number in sorted(rounds)]
        whole = [entries for entries in ordered if len(entries) == self.settings["edits"]]
        return whole or ordered[:1]


def metric_of(name: str, metrics: Mapping[str, Any]) -> str:
    """Return which metric gave a figure: `ssim_parent` is of `ssim`, `ms_ssim_parent` of `ms_ssim`."""
    return max((metric for metric in metrics if name == metric or name.startswith(f"{metric}_")), key=len)


def _place(name: str, metrics: Mapping[str, Any]) -> int:
    return list(metrics).index(metric_of(name, metrics))


def _of(entry: Mapping[str, Any], label: str, stage: str) -> float:
    measured = entry["models"][label]
    return float(measured[stage] if stage in (TOTAL, PROCESSOR) else measured["stages"].get(stage, 0.0))
