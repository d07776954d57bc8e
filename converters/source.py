"""What a model to convert looks like: its components, each with the inputs to trace, calibrate and compare it with.

The seam between `sources/` (which know models) and `targets/` (which know file formats). No file format here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from converters.calibration import CalibrationData
from edge_runtime.tensors import Tensor, TensorSpec

Arrays = Mapping[str, Tensor]
"""Input or output name -> array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A figure of merit that only the source can compute, such as "same plan": 0..1 for one example's outputs.

    `name` is a row of `parity.LIMITS`; `compare` gets torch's outputs and the converted component's outputs.
    """

    name: str
    compare: Callable[[Arrays, Arrays], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSource:
    """One graph of a model.

    `module` builds the torch module in evaluation mode; it is called when the component's turn comes, so that one
    component's weights are in memory at a time. Its `forward` takes the inputs in order and returns the outputs in
    order. `dimensions` gives smallest and largest value of every symbol in the specs. `examples` are fixed inputs:
    the first is traced (no symbol may be 1 there), all are compared. `calibration` yields other inputs of the real
    kind. `thresholded` names outputs that jump where another value crosses a threshold: their decibels are reported
    but not limited, an agreement judges them. `float_note`, if not empty, says why the component is never quantised;
    `exclude` holds shell patterns of layer names that stay in float.
    """

    name: str
    module: Callable[[], torch.nn.Module]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    examples: tuple[Arrays, ...]
    dimensions: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    calibration: Callable[[], Iterable[Arrays]] = tuple
    agreements: tuple[Agreement, ...] = ()
    thresholded: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    float_note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A checkpoint, opened: everything that goes into the artifact apart from files and figures."""

    family: str
    name: str
    components: tuple[ComponentSource, ...]
    settings: Mapping[str, Any]
    provenance: Mapping[str, str]


class Source(Protocol):
    """One model that can be converted; a file in `sources/` exposes one as `SOURCE`."""

    @property
    def default_checkpoint(self) -> Path | None:
        """The checkpoint inside the repository, if there is one."""

    def open(self, checkpoint: Path, data: CalibrationData) -> Model:
        """Read a checkpoint; raises ConversionError when it doesn't fit."""


def run_module(module: torch.nn.Module, component: ComponentSource, inputs: Arrays) -> dict[str, Tensor]:
    """Run the torch module on one example; output name -> array."""
    with torch.inference_mode():
        outputs = module(*(torch.from_numpy(inputs[spec.name].copy()) for spec in component.inputs))
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return {spec.name: tensor.numpy() for spec, tensor in zip(component.outputs, outputs, strict=True)}
