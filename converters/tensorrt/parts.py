"""Copies some nodes of a graph into a graph of their own, whose tensors go into a data file that blocks share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from converters.captured import PRODUCER
from converters.data_file import DataFile
from converters.tensorrt.cuts import SMALL_BYTES, free_nodes
from edge_runtime.blocks import Block


class Store:
    """A data file that gets each tensor once, however many blocks read it."""

    def __init__(self, data: DataFile) -> None:
        self._data = data
        self._stored: dict[ir.Value, ir.TensorProtocol] = {}

    def tensor(self, value: ir.Value) -> ir.TensorProtocol:
        """Return an initialiser's tensor as it is stored: small ones stay in the graph."""
        if value not in self._stored:
            tensor = value.const_value
            assert tensor is not None
            if tensor.nbytes <= SMALL_BYTES:
                self._stored[value] = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=value.name)
            else:
                raw = np.frombuffer(tensor.tobytes(), np.uint8)  # 4-bit codes come packed
                shape = tuple(tensor.shape.numpy())
                self._stored[value] = self._data.add(str(value.name), raw, tensor.dtype, shape)
        return self._stored[value]


def part(model: ir.Model, nodes: Sequence[ir.Node], block: Block, store: Store) -> ir.Model:
    """Return a model of copies of a block's nodes, with the inputs and outputs that the block describes."""
    copier = _Copier(block, store)
    made = [copier.node(node) for node in with_free(nodes, free_nodes(model.graph))]
    graph = ir.Graph(
        [copier.named(spec.name) for spec in block.inputs],
        [copier.named(spec.name, spec.shape) for spec in block.outputs],
        nodes=made, initializers=copier.initialisers, opset_imports={"": model.opset_imports[""]}, name=PRODUCER,
    )  # fmt: skip
    return ir.Model(graph, ir_version=model.ir_version, producer_name=PRODUCER)


def with_free(nodes: Sequence[ir.Node], free: set[ir.Node]) -> list[ir.Node]:
    """Return a block's nodes behind those that compute its shapes, wherever they stood, and no others of these."""
    kept = [node for node in nodes if node not in free]
    needed: dict[ir.Node, None] = {}
    pending = [value.producer() for node in kept for value in node.inputs if value is not None]
    while pending:
        node = pending.pop()
        if node is not None and node in free and node not in needed:
            needed[node] = None
            pending += [value.producer() for value in node.inputs if value is not None]
    graph = kept[0].graph if kept else None
    order = {node: place for place, node in enumerate(graph or ())}
    return sorted(needed, key=order.__getitem__) + kept


class _Copier:
    """Copies of values and nodes; a value that no copied node makes is an input or an initialiser."""

    def __init__(self, block: Block, store: Store) -> None:
        self.initialisers: list[ir.Value] = []
        self._shapes = {spec.name: spec.shape for spec in block.inputs}
        self._store = store
        self._copies: dict[ir.Value, ir.Value] = {}

    def node(self, node: ir.Node) -> ir.Node:
        """Return a copy that reads and gives copies."""
        inputs = [None if value is None else self._read(value) for value in node.inputs]
        outputs = [ir.Value(name=value.name, type=value.type) for value in node.outputs]
        self._copies |= dict(zip(node.outputs, outputs, strict=True))
        attributes = list(node.attributes.values())
        return ir.Node(node.domain, node.op_type, inputs, attributes, outputs=outputs, name=node.name)

    def named(self, name: str, shape: tuple[int | str, ...] | None = None) -> ir.Value:
        """Return the copy of a value, described by a shape if there is one."""
        value = next(value for value in self._copies.values() if value.name == name)
        if shape is not None:
            value.shape = ir.Shape(shape)
        return value

    def _read(self, value: ir.Value) -> ir.Value:
        if value not in self._copies:
            name = str(value.name)
            shape = ir.Shape(self._shapes[name]) if name in self._shapes else value.shape
            made = ir.Value(name=name, shape=shape, type=value.type)
            if value.is_initializer():
                made.const_value = self._store.tensor(value)
                self.initialisers.append(made)
            self._copies[value] = made
        return self._copies[value]
