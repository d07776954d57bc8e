"""Spells parts of a graph in operators for which ONNX Runtime's CPU engine has a kernel.

What it has no kernel for, it takes apart: a group norm becomes a dozen passes over the picture, which take three times
as long (1.32, two cores), and the variance is what is left of the mean square when the square of the mean is taken off.
In float, values of 300 +- 1 are normed 0.3 beside what they should be; the kernel takes the mean off first, and is
within 2e-5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx_ir as ir

from converters.graph_editor import Tape, replace_node

_DEFAULT_EPSILON: Final = 1e-5


def spell(graph: ir.Graph) -> None:
    """Change the graph in place."""
    for node in list(graph):
        spelling = _SPELLINGS.get(node.op_type)
        if spelling is not None and node.domain == "":
            spelling(graph, node)


def _group_norm(graph: ir.Graph, node: ir.Node) -> None:
    """Spell a group norm as the norm of a few very long rows, scaled and shifted by channel."""
    taken, weight, bias = node.inputs
    assert taken is not None and weight is not None and bias is not None
    rank = None if taken.shape is None else len(taken.shape)
    if rank is None or rank < 3:
        return
    tape = Tape()
    groups = node.attributes.get_int("num_groups", 1)
    epsilon = node.attributes.get_float("epsilon", _DEFAULT_EPSILON)
    shape = tape.op("Shape", [taken])
    rows = tape.op("Reshape", [taken, _constant(graph, f"groups.{groups}", [0, groups, -1])])
    length = tape.op("Shape", [rows], {"start": 2})
    ones = tape.op("ConstantOfShape", [length], {"value": ir.tensor(np.ones(1, np.float32))})
    normed = tape.op("LayerNormalization", [rows, ones], {"axis": -1, "epsilon": epsilon})
    axes = _constant(graph, f"channels.{rank}", list(range(1, rank - 1)))
    scaled = tape.op("Mul", [tape.op("Reshape", [normed, shape]), tape.op("Unsqueeze", [weight, axes])])
    replace_node(graph, node, tape, tape.op("Add", [scaled, tape.op("Unsqueeze", [bias, axes])]))


def _reciprocal_root(graph: ir.Graph, node: ir.Node) -> None:
    """Divide by a root instead of multiplying by its reciprocal: so an RMS norm is known, and becomes one kernel."""
    root = node.inputs[0]
    maker = None if root is None else root.producer()
    if maker is None or maker.op_type != "Sqrt":
        return
    for user, place in list(node.outputs[0].uses()):
        if user.op_type == "Mul":
            tape = Tape()
            replace_node(graph, user, tape, tape.op("Div", [user.inputs[1 - place], root]))
    if not node.outputs[0].uses():
        graph.remove(node, safe=True)


_SPELLINGS: Final[dict[str, Callable[[ir.Graph, ir.Node], None]]] = {
    "GroupNormalization": _group_norm,
    "Reciprocal": _reciprocal_root,
}


def _constant(graph: ir.Graph, name: str, values: list[int]) -> ir.Value:
    """Return the initialiser of whole numbers of this name, which nodes share."""
    found = graph.initializers.get(name)
    if found is None:
        tensor = ir.tensor(np.array(values, np.int64), name=name)
        found = ir.Value(name=name, shape=ir.Shape([len(values)]), type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.initializers[name] = found
    return found
