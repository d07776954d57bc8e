"""Writes components as ONNX, opset 21, one self-contained file each, byte for byte the same for the same checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import onnx
import onnxruntime
import torch

from converters import graph
from converters.layers import layer_schemes
from converters.quantise import check_expressible, initialisers_of, quantise
from converters.quiet import quiet
from converters.recipe import Recipe
from converters.source import Arrays, ComponentSource
from converters.target import Quantised, Runner, Target
from edge_runtime.engines.onnxruntime import ENGINE
from edge_runtime.errors import ConversionError
from edge_runtime.machine import Machine
from edge_runtime.manifest import Component
from edge_runtime.tensors import Tensor, check_inputs

OPSET: Final = 21
"""The first with 4-bit integers and block-wise DequantizeLinear."""


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
        model = _trace(component)
        graph.gemm_to_matmul(model)
        graph.name_nodes(model)
        graph.strip(model)
        graph.describe_sides(model, component.inputs, component.outputs)
        _write(model, destination, component.name)

    def quantise(self, component: ComponentSource, recipe: Recipe, exported: Path, destination: Path) -> Quantised:
        """Write the exported graph as the recipe wants it; raises ConversionError."""
        model = onnx.load(exported)
        module = component.module()
        plan = layer_schemes(module, recipe, component.exclude)
        held = initialisers_of(model, {name: value.detach().numpy() for name, value in module.named_parameters()})
        schemes = {initialiser: plan[name] for initialiser, name in held.items() if name in plan}
        model, precision = quantise(model, recipe, component.calibration(), schemes, component.hard())
        graph.strip(model)
        _write(model, destination, component.name)
        return Quantised(precision=precision)

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


def _trace(component: ComponentSource) -> onnx.ModelProto:
    example = component.examples[0]
    sizes = check_inputs(component.inputs, example)
    symbols = {
        name: torch.export.Dim(name, min=low, max=high) for name, (low, high) in component.dimensions.items()
    }
    if set(sizes) != set(symbols) or 1 in sizes.values():
        raise ConversionError(
            f"{component.name}: the traced example must give every symbol a size above 1", got=sizes, allowed=symbols
        )
    shapes = tuple(
        {axis: symbols[size] for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in component.inputs
    )
    with quiet():
        try:
            program = torch.onnx.export(
                component.module(),
                tuple(torch.from_numpy(example[spec.name].copy()) for spec in component.inputs),
                input_names=[spec.name for spec in component.inputs],
                output_names=[spec.name for spec in component.outputs],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ConversionError(f"{component.name} can't be exported to ONNX", got=error) from error
    assert program is not None  # with dynamo=True the exporter always returns a program
    return program.model_proto


def _write(model: onnx.ModelProto, destination: Path, name: str) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"{name}: the graph is not valid ONNX", got=error) from error
    destination.write_bytes(model.SerializeToString(deterministic=True))


def _unoptimised(component: ComponentSource, file: Path) -> Runner:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in component.outputs]

    def run(inputs: Arrays) -> dict[str, Tensor]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run
