"""The shapes that engines are built for: sizes of a component's symbols, and what tensors between blocks have then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import onnx_ir as ir
from onnxscript.optimizer import fold_constants

from converters.source import ComponentSource
from edge_runtime.blocks import Profile
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import TensorSpec

SIDES: Final = (0.5, 1.0, 1.5)
"""Sides of a large editor's pictures that engines are built for, as shares of the family's own: smallest to largest."""


_SMALL_VALUES: Final = 1024  # bytes of a tensor that is worth folding: shapes are far below it
LONGER: Final = 2
"""How much longer than usual a text may be: an engine takes memory for the longest that it is built for."""


@dataclass(frozen=True, slots=True)
class Span:
    """Smallest, best and largest size of a symbol."""

    smallest: int
    best: int
    largest: int

    def at(self, place: int) -> int:
        """Return the size at 0 smallest, 1 best, 2 largest."""
        return (self.smallest, self.best, self.largest)[place]


def fixed_spans(component: ComponentSource) -> dict[str, Span]:
    """Return the spans of a small component: up to the largest of the sizes that formats with fixed sizes have.

    Larger pictures are cut into tiles of that size (docs/artifact-format.md, "Fixed sizes").
    """
    spans = {}
    for symbol, (low, high) in component.dimensions.items():
        largest = max((sizes[symbol] for sizes in component.fixed.sizes), default=high) if component.fixed else high
        spans[symbol] = Span(low, largest, largest)
    return spans


def working_spans(component: ComponentSource, area: int) -> dict[str, Span]:
    """Return the spans of a part of a large editor: square results around an area in pixels, texts up to LONGER."""
    if component.working is None:
        return fixed_spans(component)
    sides = [round(share * area**0.5 / 64) * 64 for share in SIDES]
    small, best, large = (component.working(side, side) for side in sides)
    spans = {}
    for symbol, (low, high) in component.dimensions.items():
        steady = small[symbol] == large[symbol]
        longest = LONGER * best[symbol]
        sizes = (low, best[symbol], longest) if steady else (small[symbol], best[symbol], large[symbol])
        spans[symbol] = Span(*(min(max(size, low), high) for size in sizes))
    return spans


def profiles(specs: Sequence[TensorSpec], spans: Mapping[str, Span]) -> dict[str, Profile]:
    """Return the profiles of those tensors whose sizes are not fixed."""
    return {
        spec.name: Profile(
            **{
                name: tuple(spans[size].at(place) if isinstance(size, str) else size for size in spec.shape)
                for place, name in enumerate(("smallest", "best", "largest"))
            }
        )
        for spec in specs if any(isinstance(size, str) for size in spec.shape)
    }  # fmt: skip


def shapes_between(
    model: ir.Model, names: Sequence[str], specs: Sequence[TensorSpec], spans: Mapping[str, Span]
) -> dict[str, Profile]:
    """Return the shapes of tensors in the graph at the smallest, best and largest sizes of its inputs.

    Raises ConversionError for a tensor whose shape depends on more than sizes.
    """
    found = [_shapes(model, specs, {symbol: span.at(place) for symbol, span in spans.items()}) for place in range(3)]
    for name in names:
        if any(name not in shapes for shapes in found):
            raise ConversionError(
                "the shape of a tensor between two blocks can't be told beforehand", got=name,
                hint="allow larger blocks with --block-mb",
            )  # fmt: skip
    return {
        name: Profile(smallest=found[0][name], best=found[1][name], largest=found[2][name]) for name in names
    }


def _shapes(model: ir.Model, specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    fixed = model.clone()
    given = {spec.name: [sizes[size] if isinstance(size, str) else size for size in spec.shape] for spec in specs}
    for value in fixed.graph.inputs:
        value.shape = ir.Shape(given[str(value.name)])
    for node in fixed.graph:
        for value in node.outputs:
            value.shape = None
        if node.op_type == "GroupNormalization":  # whose shape ONNX's own rules don't tell, being that of its input
            node.op_type = "Identity"
            node.resize_inputs(1)
            node.attributes.clear()
    # with sizes of inputs known, what is computed from them becomes constant, and with it the shapes of all else
    fold_constants(fixed, onnx_shape_inference=True, input_size_limit=_SMALL_VALUES, output_size_limit=_SMALL_VALUES)
    values = [value for node in fixed.graph for value in node.outputs]
    return {
        str(value.name): tuple(value.shape.numpy())
        for value in values if value.shape is not None and value.shape.is_static()
    }  # fmt: skip
