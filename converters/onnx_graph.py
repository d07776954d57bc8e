"""Small components as ONNX graphs with their weights inside: traced from torch, checked, written."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import onnx
import torch

from converters import graph
from converters.quiet import quiet
from converters.source import ComponentSource
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import check_inputs

OPSET: Final = 21
"""The first with 4-bit integers and block-wise DequantizeLinear."""


def trace(component: ComponentSource) -> onnx.ModelProto:
    """Return the torch module with dynamic sizes in 32-bit float; raises ConversionError."""
    model = _exported(component)
    graph.gemm_to_matmul(model)
    graph.name_nodes(model)
    graph.strip(model)
    graph.describe_sides(model, component.inputs, component.outputs)
    return model


def _exported(component: ComponentSource) -> onnx.ModelProto:
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


def write(model: onnx.ModelProto, destination: Path, name: str) -> None:
    """Write a graph with its weights inside, the same bytes every time; raises ConversionError if it is not valid."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"{name}: the graph is not valid ONNX", got=error) from error
    destination.write_bytes(model.SerializeToString(deterministic=True))
