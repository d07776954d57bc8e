"""Moves 8-bit pixels to the sides of a graph: TensorRT takes and gives them, and computes with nothing but numbers.

Whole numbers 0 to 255 are the same in 32-bit float, so no result changes. An unsigned byte may only go straight from an
input into a `Cast`, and from a `Cast` straight into an output; in between, what moved bytes moves floats.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

FLOAT, UINT8 = ir.DataType.FLOAT, ir.DataType.UINT8


def pixels_to_the_sides(model: ir.Model) -> None:
    """Rewrite a graph whose values have their types (converters/tensorrt/elements.py); they are kept up to date."""
    graph = model.graph
    outputs = [value for value in graph.outputs if value.dtype is UINT8]
    _widen_constants(graph)
    for value in [value for value in graph.inputs if value.dtype is UINT8]:
        _cast_input(graph, value)
    for node in list(graph):
        if node.op_type == "Cast":
            _rewrite_cast(graph, node, outputs)
        elif node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            _mark(node.outputs)
    for value in outputs:
        _cast_output(graph, value)


def _mark(values: Iterable[ir.Value]) -> None:
    for value in values:
        if value.dtype is UINT8:
            value.type = ir.TensorType(FLOAT)


def _widen_constants(graph: ir.Graph) -> None:
    """Spell tables of bytes as floats, except for what quantisation reads."""
    for value in list(graph.initializers.values()):
        read_by = {node.op_type for node, _ in value.uses()}
        if value.dtype is UINT8 and not read_by & {"QuantizeLinear", "DequantizeLinear"}:
            assert value.const_value is not None
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
            value.type = ir.TensorType(FLOAT)


def _cast_input(graph: ir.Graph, value: ir.Value) -> None:
    users = [(node, place) for node, place in value.uses() if node.op_type != "Shape"]
    cast = ir.node("Cast", [value], {"to": FLOAT}, name=f"{value.name}.numbers")
    result = cast.outputs[0]
    result.name, result.type, result.shape = f"{value.name}.float", ir.TensorType(FLOAT), value.shape
    first = next(node for node in graph if any(node is user for user, _ in users))
    graph.insert_before(first, cast)
    for node, place in users:
        node.replace_input_with(place, result)


def _rewrite_cast(graph: ir.Graph, node: ir.Node, outputs: list[ir.Value]) -> None:
    """Drop a `Cast` from bytes to floats; let one to bytes that is not the last node cut fractions off instead."""
    given, result = node.inputs[0], node.outputs[0]
    assert given is not None
    wanted = ir.DataType(node.attributes.get_int("to"))
    if given.producer() is None and not given.is_initializer() and given.dtype is UINT8:
        return
    if wanted is UINT8 and not any(result is value for value in outputs):
        whole = given.dtype is not FLOAT
        made = ir.node("Cast" if whole else "Floor", [given], {"to": FLOAT} if whole else None, name=node.name)
        _replace(graph, node, made)
    elif wanted is FLOAT and given.dtype is FLOAT:
        if any(result is value for value in graph.outputs):
            _replace(graph, node, ir.node("Identity", [given], name=node.name))
        else:
            ir.convenience.replace_all_uses_with(result, given)
            graph.remove(node, safe=True)


def _replace(graph: ir.Graph, node: ir.Node, made: ir.Node) -> None:
    old, new = node.outputs[0], made.outputs[0]
    name, old.name = old.name, f"{old.name}.before"
    ir.convenience.replace_nodes_and_values(graph, node, [node], [made], [old], [new])
    new.name, new.type = name, ir.TensorType(FLOAT)  # behind the exchange, which gives the new value the old one's type


def _cast_output(graph: ir.Graph, value: ir.Value) -> None:
    """Put a `Cast` behind whatever makes an output of bytes, which is a `Cast` already in the best case."""
    node = value.producer()
    assert node is not None
    if node.op_type == "Cast":
        return
    cast = ir.node("Cast", [value], {"to": UINT8}, name=f"{value.name}.bytes")
    result = cast.outputs[0]
    result.shape, result.type = value.shape, ir.TensorType(UINT8)
    value.type = ir.TensorType(FLOAT)
    graph.append(cast)
    for place, given in enumerate(graph.outputs):
        if given is value:
            graph.outputs[place] = result
    result.name, value.name = value.name, f"{value.name}.float"
