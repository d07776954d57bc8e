"""A graph and which tensor each of its initialisers holds: no values, and nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import onnx_ir as ir

from converters.recipe import Layer

OPSET: Final = 21
"""The first with 4-bit integers and block-wise DequantizeLinear."""

PRODUCER: Final = "nanoedge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One initialiser of a captured graph: which tensor it holds, as it is or transposed, and what reads it.

    `layer` None is whatever has no recipe of its own: norms, biases, tables.
    """

    tensor: str
    transposed: bool
    layer: Layer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A graph without values. `uses` has every initialiser by its name, in the order in which the graph reads them."""

    model: ir.Model
    uses: Mapping[str, Use]

    def copy(self) -> Captured:
        """Return another graph of the same nodes: writing one uses it up."""
        return Captured(model=self.model.clone(), uses=self.uses)


def uses_of(graph: ir.Graph, described: Mapping[str, tuple[str, bool]]) -> dict[str, Use]:
    """Return the uses of initialisers in the order in which the graph reads them, and put them into the graph.

    `described` has the tensor of every value that may be one, and whether it is stored transposed.
    """
    order: dict[str, Use] = {}
    for node in graph:
        for read in node.inputs:
            name = "" if read is None else str(read.name)
            if read is None or read.producer() is not None or name in order or name not in described:
                continue
            tensor, transposed = described[name]
            order[name] = Use(tensor=tensor, transposed=transposed, layer=_layer(read))
            graph.initializers[name] = read
    return order


def absorb_transposes(graph: ir.Graph, values: Mapping[str, ir.Value]) -> dict[str, tuple[str, bool]]:
    """Replace every transposed weight by a value that is stored transposed.

    Returns the tensor of every value by its name, and whether it is stored transposed.
    """
    described = {}
    for name, value in values.items():
        described[name] = (name, False)
        for node, _ in list(value.uses()):
            if node.op_type != "Transpose" or value.shape is None or len(value.shape) != 2:
                continue
            turned = ir.Value(name=f"{name}.T", shape=ir.Shape(list(value.shape)[::-1]), type=value.type)
            described[f"{name}.T"] = (name, True)
            ir.convenience.replace_all_uses_with(node.outputs[0], turned)
            graph.remove(node, safe=True)
    return described


def spell_gemm(graph: ir.Graph) -> None:
    """Spell `Gemm` as `MatMul` and `Add`, so that one rule quantises every linear layer."""
    for node in list(graph):
        if node.op_type != "Gemm" or node.attributes.get_float("alpha", 1.0) != 1.0:
            continue
        if node.attributes.get_float("beta", 1.0) != 1.0 or node.attributes.get_int("transA", False):
            continue
        a, b, c = [*node.inputs, None][:3]
        tape = ir.tape.Tape()
        if node.attributes.get_int("transB", False):
            b = tape.op("Transpose", [b], {"perm": [1, 0]})
        result = tape.op("MatMul", [a, b])
        if c is not None:
            result = tape.op("Add", [result, c])
        old = node.outputs[0]
        result.shape, result.type = old.shape, old.type
        name, old.name = old.name, f"{old.name}.gemm"
        ir.convenience.replace_nodes_and_values(graph, node, [node], tape.nodes, [old], [result])
        result.name = name


def _layer(value: ir.Value) -> Layer | None:
    users = list(value.uses())
    if all(node.op_type == "MatMul" and place == 1 for node, place in users) and len(value.shape or ()) == 2:
        return Layer.MATMUL
    if all(node.op_type == "Conv" and place == 1 for node, place in users):
        return Layer.CONVOLUTION
    if all(node.op_type == "Gather" and place == 0 for node, place in users) and len(value.shape or ()) == 2:
        return Layer.EMBEDDING
    return None
