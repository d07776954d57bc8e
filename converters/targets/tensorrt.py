"""Writes components as strongly typed ONNX for TensorRT, one folder each, which engines are built of on the device.

TensorRT's engines run on no other GPU and in no other version than they were built with, so none is written here.
Checked by running the typed graphs in ONNX Runtime (converters/tensorrt_engine.py); no GPU is needed.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import onnx
import onnx_ir as ir

from converters.layers import FLOAT, layer_schemes, precision_of
from converters.onnx_graph import trace
from converters.parity import measure, reference_outputs
from converters.quantise import initialisers_of, layer_sizes
from converters.recipe import Recipe
from converters.source import ComponentSource
from converters.target import Quantised, Runner, Target
from converters.tensorrt.package import SUFFIX, WHOLE, Division, described, write_package
from converters.tensorrt.passes import HALF, typed
from converters.tensorrt.profiles import fixed_spans
from converters.tensorrt.schemes import check_expressible, fitted, remark, weights_alone
from converters.tensorrt.typed import learned_layers
from converters.tensorrt.weights import round_weights
from converters.tensorrt_engine import ENGINE
from edge_runtime.blocks import CONTENTS
from edge_runtime.machine import Machine


class TensorRTTarget:
    """The folder of typed graphs (see converters/target.py). Sizes keep the component's symbols, up to tiles."""

    suffix = SUFFIX
    entry = CONTENTS
    interpreted = True
    timed = False
    tools = ("torch", "onnx", "onnxscript", "onnx-ir", "onnxruntime")

    def check(self, recipe: Recipe) -> None:
        """Raise ConversionError for a recipe that TensorRT has no form for."""
        check_expressible(recipe)

    def export(self, component: ComponentSource, destination: Path) -> None:
        """Trace the torch module with dynamic sizes and write it in 32-bit float; raises ConversionError."""
        _write(typed(trace(component), component.name, set()), component, destination)

    def quantise(self, component: ComponentSource, recipe: Recipe, exported: Path, destination: Path) -> Quantised:
        """Write the component with smaller weights, in half precision between its layers; raises ConversionError.

        It is traced again: what was exported is typed already. 8-bit activations that lose too much, having no zero
        point here, give way to half precision, and the note says so.
        """
        plan = layer_schemes(component.module(), recipe, component.exclude)
        if not plan:
            return Quantised(precision=FLOAT)
        traced, wanted, notes = trace(component), fitted(recipe), [remark(plan)]
        written = _quantise(component, traced, wanted, destination)
        if any(scheme.activations for scheme in wanted.layers.values()):
            runners = self.runners(component, destination)
            failure = measure(component, reference_outputs(component), runners, written.precision).failure
            if failure is not None:
                shutil.rmtree(destination)
                written = _quantise(component, traced, weights_alone(wanted), destination)
                notes.append(f"products in half precision, as with 8-bit activations it measured {failure}")
        return replace(written, note="; ".join(filter(None, notes)))

    def runners(self, component: ComponentSource, file: Path) -> tuple[Runner, ...]:
        """Open the written folder as a GPU would compute it; there is no other way to run it here."""
        entry = described(component, file)
        return (ENGINE.open(file / CONTENTS, entry, threads=Machine.detect().cores).run,)

    def settings(self, components: tuple[ComponentSource, ...]) -> dict[str, Any]:
        """Return the sizes up to which engines are built, for readers that cut pictures into tiles."""
        sizes = {part.name: [dict(entry) for entry in part.fixed.sizes] for part in components if part.fixed}
        return {"fixed_sizes": sizes}


TARGET: Final[Target] = TensorRTTarget()


def _quantise(
    component: ComponentSource, traced: onnx.ModelProto, recipe: Recipe, destination: Path
) -> Quantised:
    """Write a traced component as a recipe in TensorRT's forms wants it."""
    module = component.module()
    plan = layer_schemes(module, recipe, component.exclude)
    held = initialisers_of(traced, {name: value.detach().numpy() for name, value in module.named_parameters()})
    schemes = {initialiser: plan[name] for initialiser, name in held.items() if name in plan}
    learned = learned_layers(ir.from_proto(traced).graph, held.__contains__)
    model, integers = round_weights(traced, recipe, schemes, component.calibration)
    _write(typed(model, component.name, learned), component, destination)
    weights = precision_of(schemes.values())
    return Quantised(
        precision=weights if weights == HALF else f"{weights}-{HALF}",
        layers=layer_sizes(model, integers),
    )


def _write(model: ir.Model, component: ComponentSource, destination: Path) -> None:
    write_package(model, component, Division(spans=fixed_spans(component), block_bytes=WHOLE), destination)
