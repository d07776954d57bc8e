"""What a metric is, and what it is shown. One file of `metrics` a metric; this module measures nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from converters.bench.photographs import Mask, Picture
from converters.bench.suite import Case
from edge_runtime import plugins
from edge_runtime.plan import Plan

PACKAGE: Final = "converters.bench.metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a metric gives: `unit` for people; a difference up to `margin` is of no account to anybody."""

    unit: str
    higher_is_better: bool
    margin: float
    digits: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One edit by one model.

    `before` and `after` are uint8 (height, width, 3), of sizes that may differ. `references` are pictures that `after`
    may be compared with: `parent` (the float model's), `wanted` (the expected plan by definition, or the photo before
    it was damaged), `definition` (the model's own plan by definition). `kept` is 1 where nothing may change, None where
    all may. `found_subject` and `given_subject` are masks of the subject, the model's and the user's.
    """

    case: Case
    plan: Plan | None
    before: Picture
    after: Picture
    references: Mapping[str, Picture] = field(default_factory=dict)
    kept: Mask | None = None
    found_subject: Mask | None = None
    given_subject: Mask | None = None


class Metric(Protocol):
    """A measure. `measure` returns its figures by name, none when the edit has nothing to be measured on."""

    figure: Figure

    def missing(self) -> str | None:
        """Return why it can't be measured on this machine, and what to do about it; None when it can."""

    def measure(self, evidence: Evidence) -> Mapping[str, float]:
        """Return what is measured on one edit; names end with what the picture was compared with."""


@runtime_checkable
class SetMetric(Metric, Protocol):
    """A measure of many edits together, beside what it says of one."""

    def measure_all(self, pairs: Sequence[tuple[Picture, Picture]]) -> float:
        """Return the figure of all pairs of reference and result, of any sizes."""


def metrics() -> dict[str, Metric]:
    """Return all metrics by name; raises MissingExtraError when the extra `bench` is not installed."""
    return {name: plugins.load(PACKAGE, name) for name in plugins.names(PACKAGE)}


def weights_missing(file: Path) -> str | None:
    """Return what to do when a network's weights aren't on this machine. Nothing is fetched; reports are passed on."""
    if file.is_file():
        return None
    home = Path.home()
    shown = Path("~") / file.relative_to(home) if file.is_relative_to(home) else file
    return f"the weights of its network are not on this machine; they belong at {shown}"


def comparable(evidence: Evidence) -> dict[str, Picture]:
    """Return the references of the result's size."""
    return {name: picture for name, picture in evidence.references.items() if picture.shape == evidence.after.shape}
