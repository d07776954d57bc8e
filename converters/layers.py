"""Which layers of a component a recipe makes smaller, and how: the one plan that every target carries out.

Decided on the torch module, by the names of its parameters, so that all file formats have the same layers at the same
bits. Nothing here knows a file format: what a format can't hold of the plan, its target reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from torch import nn

from converters.recipe import Layer, LayerScheme, Recipe
from converters.source import ComponentSource

KINDS: Final[Mapping[type[nn.Module], Layer]] = {
    nn.Conv1d: Layer.CONVOLUTION,
    nn.Conv2d: Layer.CONVOLUTION,
    nn.Conv3d: Layer.CONVOLUTION,
    nn.Linear: Layer.MATMUL,
    nn.Embedding: Layer.EMBEDDING,
}
"""Modules, and those derived from them, whose `weight` is worth shrinking. Everything else stays in float."""

FLOAT: Final = "fp32"
"""The precision of a component with no smaller layer."""


def planned_layers(component: ComponentSource, recipe: Recipe) -> dict[str, LayerScheme]:
    """Return the plan for a component, whose module is built for it; see `layer_schemes`."""
    return layer_schemes(component.module(), recipe, component.exclude)


def layer_schemes(module: nn.Module, recipe: Recipe, exclude: Iterable[str] = ()) -> dict[str, LayerScheme]:
    """Return parameter name, such as `blocks.0.attention.query.weight`, -> how it is quantised.

    `exclude` are shell patterns of parameter names beside the recipe's own. A parameter may be planned that the
    component's graph never reads, because it serves training alone.
    """
    patterns = (*recipe.exclude, *exclude)
    schemes = {}
    for path, layer in module.named_modules():
        kind = next((kind for base, kind in KINDS.items() if isinstance(layer, base)), None)
        name = f"{path}.weight" if path else "weight"
        if kind is not None and kind in recipe.layers and not any(fnmatchcase(name, pattern) for pattern in patterns):
            schemes[name] = recipe.layers[kind]
    return schemes


def precision_of(schemes: Iterable[LayerScheme]) -> str:
    """Return what artifacts call a component with these layers: `int8`, `int4-int8`, or `fp32` for none."""
    formats = sorted({(scheme.weights.bits, scheme.weights.precision) for scheme in schemes})
    return "-".join(precision for _, precision in formats) or FLOAT
