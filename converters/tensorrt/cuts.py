"""Where a graph is cut into blocks: engines are built one at a time, and a board must have room for the largest.

Building takes three to four times the weights (https://github.com/NVIDIA/TensorRT-Edge-LLM/issues/30), so blocks are
alike in weights, and cut where few tensors pass. What is computed from sizes alone is computed in each block that reads
it: an engine would take such a tensor as a shape, on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

SEARCHED: Final = 0.4
"""How far from an even share of the weights a cut may lie, as a part of the share, to let fewer tensors pass."""


SMALL_BYTES: Final = 1024
"""Tensors up to this size are no weights: they stay in the graph, where TensorRT and people look at them."""


def free_nodes(graph: ir.Graph) -> set[ir.Node]:
    """Return the nodes that depend on nothing but sizes of inputs and small constants."""
    inputs, free = set(graph.inputs), set[ir.Node]()
    for node in graph:
        needed = [value for value in node.inputs if value is not None and not value.is_initializer()]
        measured = node.op_type == "Shape" and needed[0] in inputs
        if measured or all(value not in inputs and value.producer() in free for value in needed):
            free.add(node)
    return free


def cut(graph: ir.Graph, block_bytes: int, most: int) -> list[list[ir.Node]]:
    """Return the nodes of each block, in order; blocks hold about `block_bytes` of weights, and there are `most`.

    One block where the weights are few, or where every cut would pass a shape.
    """
    nodes = list(graph)
    weights = _weights(nodes)
    total = sum(weights)
    blocks = min(most, max(1, -(-total // block_bytes)))
    free = free_nodes(graph)
    crossing = _crossing(nodes, free)
    places = [0]
    for number in range(1, blocks):
        place = _best(weights, crossing, total / blocks, number)
        if place is not None and any(node not in free for node in nodes[places[-1] : place]):
            places.append(place)  # else the block would hold nothing but what every block computes for itself
    return [nodes[start:stop] for start, stop in zip(places, [*places[1:], len(nodes)], strict=True)]


def _weights(nodes: Sequence[ir.Node]) -> list[int]:
    """Return the bytes of the weights that each node is the first to read; small tensors are none."""
    seen, found = set[ir.Value](), []
    for node in nodes:
        size = 0
        for value in node.inputs:
            tensor = None if value is None or value in seen else value.const_value
            if value is not None and tensor is not None and tensor.nbytes > SMALL_BYTES:
                seen.add(value)
                size += tensor.nbytes
        found.append(size)
    return found


def _crossing(nodes: Sequence[ir.Node], free: set[ir.Node]) -> list[int | None]:
    """Return how many tensors pass each place, that before a node; None where one of them is a shape."""
    place_of = {node: place for place, node in enumerate(nodes)}
    shapes = _shapes(nodes, free)
    passing, blocked = [0] * (len(nodes) + 1), [0] * (len(nodes) + 1)
    for place, node in enumerate(nodes):
        for value in () if node in free else node.outputs:
            last = max((place_of[user] for user, _ in value.uses() if user in place_of), default=place)
            for between in range(place + 1, last + 1):
                passing[between] += 1
                blocked[between] += node in shapes
    return [None if shape else count for count, shape in zip(passing, blocked, strict=True)]


def _shapes(nodes: Sequence[ir.Node], free: set[ir.Node]) -> set[ir.Node]:
    """Return the nodes whose integers come from the size of a tensor that is not an input."""
    found = set[ir.Node]()
    for node in nodes:
        whole = all(value.dtype in (ir.DataType.INT64, ir.DataType.INT32) for value in node.outputs)
        made = {value.producer() for value in node.inputs if value is not None}
        if node not in free and whole and (node.op_type == "Shape" or made & found):
            found.add(node)
    return found


def _best(weights: Sequence[int], crossing: Sequence[int | None], share: float, number: int) -> int | None:
    """Return the place of a cut near `number` shares of the weights, None if there is none."""
    before, best = 0.0, None
    for place, size in enumerate(weights):
        count = crossing[place]
        off = abs(before - number * share)
        if place and count is not None and off <= SEARCHED * share:
            best = min(best or (count, off, place), (count, off, place))
        before += size
    return None if best is None else best[2]
