"""A typed graph as ONNX Runtime can show what it computes: in float32, each half rounded where it is written.

ONNX Runtime has few kernels for halves on CPUs, and keeps what they would have rounded: 300 * 300 * 0.001 is 90 there,
and infinite on a GPU. Here every operator that gives halves is followed by a cast to half precision and back. Products
add up in float32, as tensor cores do. What moves values rounds nothing, nor does a `DequantizeLinear`, which TensorRT
makes one with the layer behind it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

EXACT: Final = frozenset((
    "Abs", "Concat", "DepthToSpace", "DequantizeLinear", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Neg",
    "Pad", "Relu", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
    "Max", "Min",
))  # fmt: skip
"""Operators whose halves need no rounding if their inputs' didn't."""

_FLOAT, _FLOAT16 = ir.DataType.FLOAT, ir.DataType.FLOAT16


def rounded(model: ir.Model) -> None:
    """Rewrite a graph whose values have their types; inputs and outputs keep theirs."""
    graph = model.graph
    for value in list(graph.initializers.values()):
        if value.dtype is _FLOAT16:
            _widen(value)
    for value in graph.inputs:
        if value.dtype is _FLOAT16:
            _cast_input(graph, value)
    for node in list(graph):
        to_half = node.op_type == "Cast" and node.attributes.get_int("to") == _FLOAT16
        for value in node.outputs:
            if value.dtype is _FLOAT16 and node.op_type not in EXACT:
                _round(graph, node, value, cast=to_half)
            elif value.dtype is _FLOAT16:
                _give(graph, node, value)


def _widen(value: ir.Value) -> None:
    assert value.const_value is not None
    value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
    value.type = ir.TensorType(_FLOAT)


def _cast_input(graph: ir.Graph, value: ir.Value) -> None:
    users = list(value.uses())
    cast = ir.node("Cast", [value], {"to": _FLOAT}, name=f"{value.name}.wide")
    cast.outputs[0].name, cast.outputs[0].type = f"{value.name}.wide", ir.TensorType(_FLOAT)
    graph.insert_before(graph[0], cast)
    for node, place in users:
        node.replace_input_with(place, cast.outputs[0])


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value, *, cast: bool) -> None:
    """Let whoever reads a value read what is left of it in half precision; a `Cast` rounds by itself."""
    users = list(value.uses())
    made = [] if cast else [ir.node("Cast", [value], {"to": _FLOAT16}, name=f"{value.name}.rounded")]
    half = value if cast else made[0].outputs[0]
    made.append(ir.node("Cast", [half], {"to": _FLOAT}, name=f"{value.name}.wide"))
    wide = made[-1].outputs[0]
    is_output = value in graph.outputs
    graph.insert_after(node, made)
    for user, place in users:
        user.replace_input_with(place, wide)
    name = str(value.name)
    wide.name, wide.type = f"{name}.wide", ir.TensorType(_FLOAT)
    half.type = ir.TensorType(_FLOAT16)
    if not cast:
        half.name, value.type = f"{name}.rounded", ir.TensorType(_FLOAT)
        if is_output:
            _output(graph, value, half)


def _give(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Cast a moved value where it leaves the graph."""
    value.type = ir.TensorType(_FLOAT)
    if value in graph.outputs:
        cast = ir.node("Cast", [value], {"to": _FLOAT16}, name=f"{value.name}.given")
        graph.insert_after(node, cast)
        _output(graph, value, cast.outputs[0])


def _output(graph: ir.Graph, value: ir.Value, given: ir.Value) -> None:
    name = str(value.name)
    value.name = f"{name}.before"
    given.name, given.shape, given.type = name, value.shape, ir.TensorType(_FLOAT16)
    graph.outputs[list(graph.outputs).index(value)] = given
