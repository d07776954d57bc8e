"""How far a written component is from its checkpoint, and whether that is near enough. No quantisation here.

The reference is torch with the checkpoint's weights, read while it runs. What is compared with it is the file itself in
ONNX Runtime where that fits the memory bound; else torch again with the weights as they stand in the file, which shows
what rounding lost in bounded memory and leaves the graph to `nanoedge verify` on a machine that can open it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.slabs import decibels
from converters.source import Arrays, ComponentSource
from converters.stored import StoredWeights
from converters.streamed_torch import read_source, run_streamed
from edge_runtime.blocks import CONTENTS
from edge_runtime.engine import engine_for
from edge_runtime.errors import ConversionError
from edge_runtime.machine import Machine
from edge_runtime.manifest import Component
from edge_runtime.tensors import Tensor

LEAST_OUTPUT_SNR_DB: Final[Mapping[str, float]] = {"bf16": 30.0, "fp16": 40.0, "int8": 24.0, "int4": 9.0, "nf4": 9.0}
"""Signal to noise of a component's outputs against the checkpoint's. In the literature's terms: 8-bit pictures at about
50 dB PSNR of the same seed and 4-bit ones at about 28 come from denoisers well above these; below them a component is
broken rather than coarse.
"""

LARGEST_FP32_ERROR: Final = 1e-4
"""Of a component in float, relative to the largest magnitude of an output."""

RESIDENT_SHARE: Final = 2.5
"""Memory that ONNX Runtime takes for a graph, over the bytes of its files: it keeps repacked copies of weights."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Figures of the outputs: name -> decibels, and the largest relative error; `method` says what was run."""

    precision: str
    method: str
    snr_db: Mapping[str, float]
    largest_error: float

    @property
    def failure(self) -> str | None:
        """Return what is off its limit, None when all is near enough."""
        if self.precision == "fp32":
            if self.largest_error <= LARGEST_FP32_ERROR:
                return None
            return f"an error of {self.largest_error:.2g} of the largest value, allowed {LARGEST_FP32_ERROR:g}"
        least = LEAST_OUTPUT_SNR_DB[self.precision.split("-")[0]]
        worst = min(self.snr_db, key=lambda name: self.snr_db[name])
        if self.snr_db[worst] >= least:
            return None
        return f"{worst} has {self.snr_db[worst]:.1f} dB, allowed at least {least:g} dB"

    def to_json(self) -> dict[str, Any]:
        """Return the manifest's entry."""
        figures = {f"{name}.snr_db": round(value, 1) for name, value in self.snr_db.items()}
        return {"precision": self.precision, "method": self.method, **figures}


def references(component: ComponentSource, say: Say = lambda line: None) -> list[dict[str, Tensor]]:
    """Return torch's outputs for every example; raises ConversionError when they are not finite or all the same."""
    outputs = []
    for place, example in enumerate(component.examples, 1):
        say(f"reference {place} of {len(component.examples)}")
        found = run_streamed(component, example, read_source(component))
        _check_alive(component, found, "the checkpoint's own result")
        outputs.append(found)
    return outputs


def measure(
    component: ComponentSource,
    description: Component,
    graph: Path,
    expected: list[dict[str, Tensor]],
    memory_bytes: int,
    say: Say = lambda line: None,
) -> Fidelity:
    """Compare a written component with the references; raises ConversionError for dead or infinite outputs.

    `graph` is what the component is opened by: a graph, or a table of contents of typed graphs.
    """
    fits = can_be_opened(description, memory_bytes)
    run = _opened(description, graph) if fits else _stored_torch(component, graph)
    signal = dict.fromkeys((spec.name for spec in component.outputs), 0.0)
    noise = dict(signal)
    largest = 0.0
    for place, (example, wanted) in enumerate(zip(component.examples, expected, strict=True), 1):
        say(f"comparison {place} of {len(expected)}")
        found = run(example)
        _check_alive(component, found, "the converted component's result")
        for name, reference in wanted.items():
            lost = found[name].astype(np.float64) - reference
            signal[name] += float(np.square(reference, dtype=np.float64).sum())
            noise[name] += float(np.square(lost).sum())
            largest = max(largest, float(np.abs(lost).max() / max(float(np.abs(reference).max()), 1e-12)))
    return Fidelity(
        precision=description.precision,
        method="onnxruntime" if fits else "torch with the weights as written",
        snr_db={name: decibels(signal[name], noise[name]) for name in signal},
        largest_error=largest,
    )


def can_be_opened(description: Component, memory_bytes: int) -> bool:
    """Return whether ONNX Runtime may open a component, and not only torch with one of its weights after another."""
    return RESIDENT_SHARE * description.total_bytes <= memory_bytes


def _opened(description: Component, entry: Path) -> Callable[[Arrays], dict[str, Tensor]]:
    if entry.name == CONTENTS:
        from converters.tensorrt_engine import ENGINE

        return ENGINE.open(entry, description, threads=Machine.detect().cores).run
    return engine_for("onnx").open(entry, description, threads=Machine.detect().cores).run


def _stored_torch(component: ComponentSource, graph: Path) -> Callable[[Arrays], dict[str, Tensor]]:
    stored = StoredWeights(graph)
    return lambda example: run_streamed(component, example, stored.read)


def _check_alive(component: ComponentSource, outputs: Mapping[str, Tensor], what: str) -> None:
    for name, array in outputs.items():
        if not np.isfinite(array).all():
            raise ConversionError(f"{component.name}: {what} is not finite", got=name, hint="the weights are damaged")
        if array.size > 1 and (array == array.flat[0]).all():
            raise ConversionError(f"{component.name}: {what} is the same everywhere", got=f"{name} {array.flat[0]:g}")
