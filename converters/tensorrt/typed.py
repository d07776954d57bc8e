"""Half precision as TensorRT's strong typing wants it: every cast stands in the graph, and TensorRT adds none.

What computes in half precision lies on a way from one learned layer to another, and is of a kind that loses nothing by
it (HALF). Softmax, norms, sums, powers and comparisons stay in float32, and so do graphs without learned layers, whose
row numbers and squares of pixels half precision doesn't hold; measured in converters/coreml/half_precision.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

HALF: Final = frozenset((
    "Abs", "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "DepthToSpace", "DequantizeLinear", "Erf",
    "Expand", "Flatten", "Gather", "Gelu", "GlobalAveragePool", "Identity", "LeakyRelu", "MatMul", "Max", "MaxPool",
    "Min", "Mul", "Neg", "Pad", "QuantizeLinear", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "SpaceToDepth",
    "Split", "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where",
))  # fmt: skip
"""Operators that compute in half precision between learned layers."""

LEARNED: Final = ("Conv", "ConvTranspose", "MatMul", "Gather")
"""Operators that are a learned layer when they read a learned tensor."""

_CODING: Final = ("QuantizeLinear", "DequantizeLinear")
_DATA_INPUTS: Final = {"Resize": 1}
"""How many of an operator's inputs have the type of its result, where the others are float32 whatever that is."""

_FLOAT, _FLOAT16 = ir.DataType.FLOAT, ir.DataType.FLOAT16
_LARGEST: Final = float(np.finfo(np.float16).max)
_SMALLEST: Final = float(np.finfo(np.float16).smallest_subnormal)


def learned_layers(graph: ir.Graph, is_learned: Callable[[str], bool]) -> set[str]:
    """Return the names of nodes that are a learned layer: `is_learned` tells so of the name of an initialiser."""
    return {
        str(node.name) for node in graph if node.op_type in LEARNED
        and any(value is not None and value.is_initializer() and is_learned(str(value.name)) for value in node.inputs)
    }  # fmt: skip


def halve(model: ir.Model, learned: set[str]) -> int:
    """Put casts around what computes in half precision and return how many operators do.

    Values must have their types (converters/tensorrt/elements.py), which are kept up to date; `learned` are names of
    nodes. Scales of weights that such an operator reads are halved too, as a `DequantizeLinear` gives what they are.
    """
    graph = model.graph
    between = _between(graph, learned)
    wanted = {node for node in graph if node in between and node.op_type in HALF}
    for node in reversed(list(graph)):
        if node.op_type in _CODING and _feeds(node, wanted):
            wanted.add(node)
    chosen = [node for node in graph if node in wanted]
    casts = _Casts(graph)
    for node in chosen:
        for value in node.outputs:
            if value.dtype is _FLOAT:
                value.type = ir.TensorType(_FLOAT16)
    for node in chosen:
        for place in range(_DATA_INPUTS.get(node.op_type, len(node.inputs))):
            casts.read(node, place, _FLOAT16)
    for node in [node for node in graph if node not in wanted]:
        for place in range(len(node.inputs)):
            casts.read(node, place, _FLOAT)
    casts.outputs()
    return len(chosen)


def positive_scales(graph: ir.Graph) -> None:
    """Replace scales of 0, which a channel of zeros has: TensorRT refuses them. Their codes are 0 all the same."""
    for node in graph:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        value = node.inputs[1]
        if value is not None and value.const_value is not None:
            scales = value.const_value.numpy()
            if (scales <= 0).any():
                value.const_value = ir.tensor(np.maximum(scales, np.float32(_SMALLEST)), name=value.name)


def _between(graph: ir.Graph, learned: set[str]) -> set[ir.Node]:
    """Return the nodes that are a learned layer, or have one before them and one behind them."""
    ordered = list(graph)
    after = {node for node in ordered if node.name in learned}
    before = set(after)
    for node in ordered:
        if any(producer in after for producer in _producers(node)):
            after.add(node)
    for node in reversed(ordered):
        if node in before:
            before.update(_producers(node))
    return after & before


def _producers(node: ir.Node) -> Iterable[ir.Node]:
    made = (value.producer() for value in node.inputs if value is not None)
    return [producer for producer in made if producer is not None]


def _feeds(node: ir.Node, halved: set[ir.Node]) -> bool:
    """Return whether a node unpacks or rounds something for operators in half precision alone: a cast behind it would
    keep TensorRT from making one of them.
    """
    users = [user for value in node.outputs for user, _ in value.uses()]
    return bool(users) and all(user in halved for user in users)


class _Casts:
    """Adds each cast once."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def read(self, node: ir.Node, place: int, wanted: ir.DataType) -> None:
        """Let a node read an input as `wanted`, if it is a float at all."""
        value = node.inputs[place]
        if value is None or value.dtype not in (_FLOAT, _FLOAT16) or value.dtype is wanted:
            return
        if node.op_type == "Cast" or (value.is_initializer() and wanted is _FLOAT):
            return  # a cast takes every type; initialisers are as they were
        node.replace_input_with(place, self._cast(value, wanted))

    def outputs(self) -> None:
        """Give back float32 where the graph did."""
        for place, value in enumerate(self._graph.outputs):
            if value.dtype is _FLOAT16:
                name = value.name
                value.name = f"{name}.half"
                cast = self._cast(value, _FLOAT)
                self._graph.outputs[place] = cast
                cast.name = name

    def _cast(self, value: ir.Value, wanted: ir.DataType) -> ir.Value:
        if (value, wanted) not in self._made:
            made = self._constant(value) if value.is_initializer() else self._node(value, wanted)
            self._made[value, wanted] = made
        return self._made[value, wanted]

    def _node(self, value: ir.Value, wanted: ir.DataType) -> ir.Value:
        name = f"{value.name}.{'half' if wanted is _FLOAT16 else 'single'}"
        cast = ir.node("Cast", [value], {"to": wanted}, name=f"{name}.cast")
        result = cast.outputs[0]
        result.name, result.type, result.shape = name, ir.TensorType(wanted), value.shape
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], cast)
        else:
            self._graph.insert_after(producer, cast)
        return result

    def _constant(self, value: ir.Value) -> ir.Value:
        tensor = value.const_value
        assert tensor is not None
        name, shape = f"{value.name}.half", ir.Shape(tensor.shape.numpy())
        lazy = ir.LazyTensor(
            lambda: ir.tensor(halved(tensor.numpy()), name=name), dtype=_FLOAT16, shape=shape, name=name
        )
        made = ir.Value(name=name, shape=shape, type=ir.TensorType(_FLOAT16), const_value=lazy)
        self._graph.initializers[name] = made
        return made


def halved(array: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return float32 values as float16: none becomes infinite, and none but 0 becomes 0."""
    clipped = np.clip(array, -_LARGEST, _LARGEST)
    tiny = (clipped != 0) & (np.abs(clipped) < _SMALLEST)
    return np.where(tiny, np.copysign(_SMALLEST, clipped), clipped).astype(np.float16)
