"""Tables of 8-bit codes as TensorRT takes them: codes may only go into a `DequantizeLinear`, never into a `Gather`.

The other formats gather rows of codes first and multiply by their scales then, which unpacks only what is asked for;
how TensorRT does it is its own affair.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

_CODES = (ir.DataType.INT8, ir.DataType.UINT8)


def unpack_before_gathering(model: ir.Model) -> None:
    """Spell `Gather(codes) -> Cast -> Mul(scales)` as `DequantizeLinear -> Gather`.

    Scales are a vector, one for each column, or gathered themselves from a column, one for each row.
    """
    graph = model.graph
    for node in list(graph):
        codes = node.inputs[0] if node.op_type == "Gather" else None
        if codes is None or not codes.is_initializer() or codes.dtype not in _CODES:
            continue
        cast = next(user for user, _ in node.outputs[0].uses())
        product = next(user for user, _ in cast.outputs[0].uses())
        scales = next(value for value in product.inputs if value is not cast.outputs[0])
        assert scales is not None
        _replace(graph, node, product, *_scales(graph, scales))
    RemoveUnusedNodesPass()(model)


def _scales(graph: ir.Graph, scales: ir.Value) -> tuple[ir.Value, int]:
    """Return the vector of scales and the axis of the table that it belongs to."""
    gathered = scales.producer()
    if gathered is None:
        return scales, 1
    column = gathered.inputs[0]
    assert column is not None and column.const_value is not None
    name, values = f"{column.name}.rows", column.const_value.numpy().reshape(-1)
    rows = graph.initializers.get(name)
    if rows is None:
        rows = ir.Value(
            name=name, shape=ir.Shape(values.shape), type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(values, name=name),
        )  # fmt: skip
        graph.initializers[name] = rows
    return rows, 0


def _replace(graph: ir.Graph, gather: ir.Node, product: ir.Node, scales: ir.Value, axis: int) -> None:
    codes, places = gather.inputs[0], gather.inputs[1]
    assert codes is not None
    unpacked = ir.node("DequantizeLinear", [codes, scales], {"axis": axis}, name=f"{gather.name}.table")
    taken = ir.node("Gather", [unpacked.outputs[0], places], dict(gather.attributes), name=gather.name)
    old, new = product.outputs[0], taken.outputs[0]
    new.shape, new.type = old.shape, old.type
    unpacked.outputs[0].name, unpacked.outputs[0].type = f"{codes.name}.float", ir.TensorType(ir.DataType.FLOAT)
    name, old.name = old.name, f"{old.name}.before"
    ir.convenience.replace_nodes_and_values(graph, product, [product], [unpacked, taken], [old], [new])
    new.name = name
