"""Writes components as ONNX, opset 21, one self-contained file each, byte for byte the same for the same checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import onnx
import onnxruntime

from converters import graph
from converters.layers import layer_schemes
from converters.onnx_graph import trace, write
from converters.quantise import check_expressible, initialisers_of, layer_sizes, quantise
from converters.recipe import Recipe
from converters.source import Arrays, ComponentSource
from converters.target import Quantised, Runner, Target
from edge_runtime.engines.onnxruntime import ENGINE
from edge_runtime.machine import Machine
from edge_runtime.manifest import Component
from edge_runtime.tensors import Tensor


class OnnxTarget:
    """The ONNX file format (see converters/target.py)."""

    suffix = ".onnx"
    entry = ""
    interpreted = False
    timed = True
    tools = ("torch", "onnx", "onnxscript", "onnxruntime")

    def check(self, recipe: Recipe) -> None:
        """Raise ConversionError for a recipe that ONNX has no operators for."""
        check_expressible(recipe)

    def export(self, component: ComponentSource, destination: Path) -> None:
        """Trace the torch module with dynamic sizes and write it in 32-bit float; raises ConversionError."""
        write(trace(component), destination, component.name)

    def quantise(self, component: ComponentSource, recipe: Recipe, exported: Path, destination: Path) -> Quantised:
        """Write the exported graph as the recipe wants it; raises ConversionError."""
        model = onnx.load(exported)
        module = component.module()
        plan = layer_schemes(module, recipe, component.exclude)
        held = initialisers_of(model, {name: value.detach().numpy() for name, value in module.named_parameters()})
        schemes = {initialiser: plan[name] for initialiser, name in held.items() if name in plan}
        model, precision = quantise(model, recipe, component.calibration(), schemes, component.hard())
        graph.strip(model)
        write(model, destination, component.name)
        return Quantised(precision=precision, layers=layer_sizes(model, schemes))

    def runners(self, component: ComponentSource, file: Path) -> tuple[Runner, ...]:
        """Open the file as it is served, and without graph optimisation: fusions have changed results before."""
        described = Component(
            name=component.name, file=file.name, precision="any", inputs=component.inputs, outputs=component.outputs
        )
        served = ENGINE.open(file, described, threads=Machine.detect().cores)
        return served.run, _unoptimised(component, file)

    def settings(self, components: tuple[ComponentSource, ...]) -> dict[str, Any]:
        """Return nothing: ONNX graphs take every size."""
        return {}


TARGET: Final[Target] = OnnxTarget()


def _unoptimised(component: ComponentSource, file: Path) -> Runner:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in component.outputs]

    def run(inputs: Arrays) -> dict[str, Tensor]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run
