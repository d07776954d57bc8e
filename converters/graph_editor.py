"""Changes a graph while its values go into a data file: puts nodes in the place of initialisers and of other nodes."""

from __future__ import annotations

from typing import Any, Final

import onnx_ir as ir
from numpy.typing import NDArray

from converters.data_file import DataFile

Tape = ir.tape.Tape
INLINE_BYTES: Final = 64
"""Scales and zero points of whole tensors stay in the graph: runtimes look at them while they fuse."""

INLINE_TYPES: Final = (ir.DataType.FLOAT, ir.DataType.UINT8, ir.DataType.INT64)


def replace_node(graph: ir.Graph, node: ir.Node, tape: Tape, result: ir.Value) -> None:
    """Put new nodes in the place of one; `result` takes the name of its output."""
    old = node.outputs[0]
    result.shape, result.type = old.shape, old.type
    name, old.name = old.name, f"{old.name}.before"
    for place, made in enumerate(tape.nodes):
        made.name = f"{node.name}.{made.op_type.lower()}_{place}"
    ir.convenience.replace_nodes_and_values(graph, node, [node], tape.nodes, [old], [result])
    result.name = name


class GraphEditor:
    """One graph and the data file of its values."""

    def __init__(self, graph: ir.Graph, data: DataFile) -> None:
        self._graph, self._data = graph, data

    def initialiser(self, name: str, array: NDArray[Any], dtype: ir.DataType, shape: tuple[int, ...]) -> ir.Value:
        """Add an initialiser whose bytes (4-bit codes packed) go into the data file."""
        small = array.nbytes <= INLINE_BYTES and array.dtype.kind in "fiu" and dtype in INLINE_TYPES
        tensor = ir.tensor(array, dtype=dtype, name=name) if small else self._data.add(name, array, dtype, shape)
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype), const_value=tensor)
        self._graph.initializers[name] = value
        return value

    def constant(self, name: str, array: NDArray[Any], dtype: ir.DataType) -> ir.Value:
        """Return the initialiser of this name, which layers share; the first that asks adds it."""
        found = self._graph.initializers.get(name)
        return self.initialiser(name, array, dtype, array.shape) if found is None else found

    def fill(self, value: ir.Value, array: NDArray[Any]) -> None:
        """Give an initialiser its values as they are."""
        dtype = ir.DataType.from_numpy(array.dtype)
        value.const_value = self._data.add(str(value.name), array, dtype, array.shape)
        value.type = ir.TensorType(dtype)

    def replace_initialiser(self, value: ir.Value, tape: Tape, result: ir.Value) -> None:
        """Let whoever reads an initialiser read what the new nodes compute."""
        self.insert(self.first_user(value), tape, str(value.name), before=True)
        ir.convenience.replace_all_uses_with(value, result)
        result.name = f"{value.name}.float"
        self.drop(value)

    def replace_node(self, node: ir.Node, tape: Tape, result: ir.Value) -> None:
        """Put new nodes in the place of one; `result` takes the name of its output."""
        replace_node(self._graph, node, tape, result)

    def first_user(self, value: ir.Value) -> ir.Node:
        """Return the first node, in the order of the graph, that reads a value."""
        users = {node for node, _ in value.uses()}
        return next(node for node in self._graph if node in users)

    def insert(self, node: ir.Node, tape: Tape, name: str, *, before: bool) -> None:
        """Put new nodes before or behind one."""
        for place, made in enumerate(tape.nodes):
            made.name = f"{name}.{made.op_type.lower()}_{place}"
        (self._graph.insert_before if before else self._graph.insert_after)(node, tape.nodes)

    def follow(self, node: ir.Node, tape: Tape, result: ir.Value, name: str) -> None:
        """Put nodes behind one and let whoever read its output read theirs."""
        output = node.outputs[0]
        result.shape, result.type = output.shape, output.type
        self.insert(node, tape, name, before=False)
        for user, place in list(output.uses()):
            if user is not tape.nodes[0]:
                user.replace_input_with(place, result)
        for place, given in enumerate(self._graph.outputs):
            if given is output:
                self._graph.outputs[place] = result
                result.name, output.name = output.name, f"{output.name}.before"

    def drop(self, value: ir.Value) -> None:
        """Remove an initialiser that nobody reads any more."""
        del self._graph.initializers[str(value.name)]
