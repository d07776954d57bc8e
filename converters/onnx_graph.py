"""Small components as ONNX graphs with their weights inside: traced from torch, checked, written."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch

from converters import graph
from converters.exporting import exported
from converters.source import ComponentSource
from edge_runtime.errors import ConversionError


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
    dimensions = {
        name: torch.export.Dim(name, min=low, max=high) for name, (low, high) in component.dimensions.items()
    }
    arguments = tuple(torch.from_numpy(example[spec.name].copy()) for spec in component.inputs)
    return exported(component, arguments, dimensions, optimise=True).model_proto


def write(model: onnx.ModelProto, destination: Path, name: str) -> None:
    """Write a graph with its weights inside, the same bytes every time; raises ConversionError if it is not valid."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"{name}: the graph is not valid ONNX", got=error) from error
    destination.write_bytes(model.SerializeToString(deterministic=True))
