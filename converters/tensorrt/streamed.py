"""Large components for TensorRT: what converters/streaming.py wrote, typed and cut into blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import onnx_ir as ir

from converters.captured import Captured
from converters.recipe import Format, Recipe
from converters.source import ComponentSource
from converters.tensorrt.package import SUFFIX, Division, described, write_package
from converters.tensorrt.passes import HALF, typed
from converters.tensorrt.profiles import working_spans
from converters.tensorrt.schemes import fitted
from converters.tensorrt.typed import learned_layers
from edge_runtime.blocks import CONTENTS
from edge_runtime.manifest import Component

FLOAT: Final = "fp32"


@dataclass(frozen=True, slots=True)
class Packing:
    """A component as it was written for ONNX Runtime, and how it is to be packed.

    `area` is that of the family's usual result in pixels; `halved` tells that its layers compute in half precision.
    """

    graph: Path
    description: Component
    area: int
    block_bytes: int
    halved: bool


def streamed_part(recipe: Recipe) -> Recipe:
    """Return what of a recipe the streaming writer carries out: its integers, in TensorRT's forms."""
    recipe = fitted(recipe)
    kept = {kind: each for kind, each in recipe.layers.items() if each.weights.format is Format.INTEGER}
    return replace(recipe, layers=kept)


def pack(component: ComponentSource, captured: Captured, packing: Packing) -> tuple[Component, Path]:
    """Write NAME.tensorrt beside the graph; return its description and its table of contents.

    One tensor at a time is in memory. Raises ConversionError.
    """
    learned = learned_layers(captured.model.graph, captured.uses.__contains__) if packing.halved else set()
    model = typed(ir.load(packing.graph), component.name, learned)
    folder = packing.graph.with_suffix(SUFFIX)
    division = Division(spans=working_spans(component, packing.area), block_bytes=packing.block_bytes)
    write_package(model, component, division, folder)
    weights = packing.description.precision
    halves = HALF if weights == FLOAT else f"{weights}-{HALF}"
    precision = halves if packing.halved else weights
    return described(component, folder, precision, packing.description.note), folder / CONTENTS
