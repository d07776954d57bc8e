"""All passes from a graph of ONNX Runtime's taste to one of TensorRT's, in their order."""

from __future__ import annotations

from typing import Final

import onnx
import onnx_ir as ir

from converters.tensorrt.elements import infer_elements
from converters.tensorrt.gathers import unpack_before_gathering
from converters.tensorrt.operators import check_operators
from converters.tensorrt.pixels import pixels_to_the_sides
from converters.tensorrt.typed import halve, positive_scales

HALF: Final = "fp16"


def typed(model: onnx.ModelProto | ir.Model, name: str, learned: set[str]) -> ir.Model:
    """Return the graph with every type spelled out, half precision between the nodes named in `learned`.

    Without any it stays in float32. Raises ConversionError, naming the operator, for what TensorRT can't express.
    """
    graph_of = model if isinstance(model, ir.Model) else ir.from_proto(model)
    check_operators(graph_of.graph, name)
    infer_elements(graph_of, name)
    pixels_to_the_sides(graph_of)
    unpack_before_gathering(graph_of)
    positive_scales(graph_of.graph)
    halve(graph_of, learned)
    return graph_of
