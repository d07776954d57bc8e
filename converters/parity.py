"""Does a written component still compute what torch computes? Figures on fixed inputs, and the limits they must keep.

The function that the conversion runs is the one the tests run. Every figure is the worst of all ways to open the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from converters.source import Arrays, ComponentSource, run_module
from converters.target import Runner
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import Tensor, check_inputs

LIMITS: Final[Mapping[str, Mapping[str, float]]] = {
    # figure: smallest value by precision. More is better for all of them; figures without a row are only reported.
    "snr_db": {"fp32": 70.0, "fp16": 50.0, "int8": 20.0, "int4": 12.0},  # float outputs
    "psnr_db": {"fp32": 50.0, "fp16": 50.0, "int8": 38.0, "int4": 34.0},  # 8-bit images; 50 dB: few pixels, by one
    # masks alike to 0.95 lose 0.002 against people's own masks (benchmarks/mask_iou.py): what differs is small and grey
    "mask_iou": {"fp32": 0.999, "fp16": 0.998, "int8": 0.95, "int4": 0.93},
    "plan_agreement": {"fp32": 0.99, "fp16": 0.99, "int8": 0.97, "int4": 0.94},
}
SAME_LIMITS: Final[Mapping[str, str]] = {"nf4": "int4"}
"""What is held to the limits of another precision."""

CEILING_DB: Final = 200.0
"""What equality is reported as: JSON has no infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value. `output` is empty for an agreement over all outputs, `limit` None where none applies."""

    name: str
    value: float
    output: str = ""
    limit: float | None = None

    @property
    def passed(self) -> bool:
        """Return whether the value keeps its limit; NaN never does."""
        return self.value >= (-math.inf if self.limit is None else self.limit)

    @property
    def allowed(self) -> str:
        """Return the limit in words."""
        return "a finite number" if self.limit is None else f"{self.limit:g} or more"

    def __str__(self) -> str:
        value = f"{self.value:.2g}" if abs(self.value) < 0.01 else f"{self.value:.4g}"
        return f"{self.output} {self.name} {value}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """All figures of one component at one precision."""

    component: str
    precision: str
    figures: tuple[Figure, ...]

    @property
    def failure(self) -> Figure | None:
        """Return the first figure below its limit."""
        return next((figure for figure in self.figures if not figure.passed), None)

    def require(self) -> None:
        """Raise ConversionError, naming component, figure and limit, when a figure is below its limit."""
        if (figure := self.failure) is not None:
            raise ConversionError(
                f"{self.component} in {self.precision} does not compute what the checkpoint computes",
                got=figure,
                allowed=figure.allowed,
                hint="the limits are in converters/parity.py",
            )

    def to_json(self) -> dict[str, object]:
        """Return `{"precision": "int8", "subject.snr_db": 31.2, "mask_iou": 0.991}` for the manifest."""
        figures = {".".join(filter(None, (figure.output, figure.name))): figure.value for figure in self.figures}
        return {"precision": self.precision, **{name: float(f"{value:.4g}") for name, value in figures.items()}}


def reference_outputs(component: ComponentSource) -> tuple[Arrays, ...]:
    """Run the torch module on the component's examples; raises ConversionError for outputs that are not finite."""
    module = component.module()
    references = tuple(run_module(module, component, example) for example in component.examples)
    for reference in references:
        for name, array in reference.items():
            if not np.isfinite(array).all():
                raise ConversionError(f"{component.name}: torch's output {name} is not finite", hint="train it again")
    return references


def measure(
    component: ComponentSource, references: Sequence[Arrays], runners: Sequence[Runner], precision: str
) -> Parity:
    """Compare a written component with torch's outputs on the component's examples; raises EngineError when an
    output has another shape or dtype than described.
    """
    found = [_figures(component, references, runner, precision) for runner in runners]
    worst = tuple(min(same, key=_merit) for same in zip(*found, strict=True))
    return Parity(component=component.name, precision=precision, figures=worst)


def signal_to_noise_db(reference: Tensor, converted: Tensor) -> float:
    """10 log10 of signal energy over error energy, at most 200."""
    signal = reference.astype(np.float64)
    return _decibel(float(np.square(signal).sum()), float(np.square(signal - converted).sum()))


def peak_signal_to_noise_db(reference: Tensor, converted: Tensor) -> float:
    """PSNR of 8-bit pictures, at most 200."""
    error = reference.astype(np.float64) - converted
    return _decibel(255.0**2, float(np.square(error).mean()))


def mask_iou(reference: Tensor, converted: Tensor) -> float:
    """Intersection over union of two masks at the threshold 0.5; 1 for two empty masks."""
    first, second = reference > 0.5, converted > 0.5
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def _figures(
    component: ComponentSource, references: Sequence[Arrays], runner: Runner, precision: str
) -> list[Figure]:
    outputs = []
    for example in component.examples:
        sizes = check_inputs(component.inputs, example)
        outputs.append(runner(example))
        check_inputs(component.outputs, outputs[-1], sizes)
    figures = []
    for spec in component.outputs:
        pair = [np.concatenate([side[spec.name].ravel() for side in sides]) for sides in (references, outputs)]
        image = spec.dtype == "uint8"
        name, compute = ("psnr_db", peak_signal_to_noise_db) if image else ("snr_db", signal_to_noise_db)
        error = float(np.abs(pair[0].astype(np.float64) - pair[1]).max())
        limit = None if spec.name in component.thresholded else _limit(name, precision, component.least_snr_db)
        figures.append(Figure(name=name, output=spec.name, value=compute(*pair), limit=limit))
        figures.append(Figure(name="max_abs_error", output=spec.name, value=error))
    for agreement in component.agreements:
        values = [agreement.compare(*pair) for pair in zip(references, outputs, strict=True)]
        limit = _limit(agreement.name, precision)
        figures.append(Figure(name=agreement.name, value=float(np.mean(values)), limit=limit))
    return figures


def _limit(name: str, precision: str, own: Mapping[str, float] = MappingProxyType({})) -> float | None:
    """Look up a limit; `int4-int8` is held to the limits of `int4`. `own` are a component's, in decibels of signal."""
    lowest = precision.split("-")[0]
    if name == "snr_db" and lowest in own:
        return own[lowest]
    return LIMITS.get(name, {}).get(SAME_LIMITS.get(lowest, lowest))


def _merit(figure: Figure) -> float:
    if math.isnan(figure.value):
        return -math.inf
    return -figure.value if figure.name == "max_abs_error" else figure.value


def _decibel(signal: float, noise: float) -> float:
    if math.isnan(noise):
        return math.nan
    if noise == 0.0 or signal == 0.0:
        return CEILING_DB if noise == 0.0 else -CEILING_DB
    return min(CEILING_DB, 10.0 * math.log10(signal / noise))
