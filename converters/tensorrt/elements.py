"""What type every value of a graph has: TensorRT's strong typing takes it from the graph, so passes must know it."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edge_runtime.errors import ConversionError


def infer_elements(model: ir.Model, name: str) -> None:
    """Give every value its type, by ONNX's own rules; raises ConversionError for one that has none."""
    ShapeInferencePass(data_prop=True)(model)
    for node in model.graph:
        for value in node.outputs:
            if value.type is None and value.uses():
                raise ConversionError(
                    f"{name}: no type can be told for a value of the graph", got=f"{value.name}, of {node.op_type}",
                    hint="TensorRT needs one: convert the model to ONNX instead",
                )  # fmt: skip
