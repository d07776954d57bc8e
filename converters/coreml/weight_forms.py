"""What Core ML has for a recipe's weights: the one place where a plan of layers meets what the format can hold.

    8 bits a channel        codes around zero with a scale a channel                  iOS 17
    4 bits in blocks        codes with a scale and an offset a block of inputs        iOS 18
    4 bits a channel        the same with one block, which the Neural Engine prefers  iOS 18
    palette                 indices into 16 values, a table a group of outputs        iOS 18, Neural Engine
    float16                 nothing but half precision

Activations stay in float: Core ML has 8-bit ones since iOS 17, but they pay on the newest Neural Engines alone. The bit
that `reduced_range` leaves out saves old x86 processors from overflow; no Apple chip has that, so all 8 are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.coreml.library import IOS17, IOS18
from converters.recipe import Format, Granularity, LayerScheme, Recipe, WeightScheme
from edge_runtime.errors import ConversionError
from edge_runtime.manifest import MAX_NOTE_CHARACTERS

FLOATS: Final = "8-bit activations of the recipe stay in half precision"
UNFILLED: Final = "4 bits by channel where blocks don't fill the inputs: "


def check_expressible(recipe: Recipe) -> None:
    """Raise ConversionError for weights that Core ML has no form for."""
    recipe.require((Format.INTEGER, Format.FLOAT16, Format.PALETTE), "Core ML")
    for layer, scheme in recipe.layers.items():
        weights = scheme.weights
        coarse = weights.format is Format.INTEGER and weights.granularity is Granularity.TENSOR
        wide = weights.bits == 8 and weights.granularity is Granularity.BLOCK
        if weights.rank or coarse or wide or (weights.bits == 8 and weights.zero_points):
            raise ConversionError(
                f"recipe {recipe.name}: no such weights are written for Core ML in layers of kind {layer.value}",
                got=f"{weights.precision} by {weights.granularity.value}, rank {weights.rank}",
                allowed="8 bits by channel around zero, 4 bits by channel or block, palettes, float16",
                hint="take recipe fp16, int8, int4, int4-channel or int4-palette",
            )


def minimum_system(schemes: list[LayerScheme]) -> Any:
    """Return the oldest operating system that reads all these weights."""
    return IOS18 if any(scheme.weights.bits < 8 for scheme in schemes) else IOS17


def remark(plan: Mapping[str, LayerScheme], done: Mapping[str, WeightScheme]) -> str:
    """Say in words what of the layers done was planned otherwise; empty if nothing was."""
    activations = any(plan[name].activations for name in done)
    unfilled = [name for name, scheme in done.items() if scheme != plan[name].weights]
    sentences = (FLOATS if activations else "", UNFILLED + ", ".join(unfilled) if unfilled else "")
    return "; ".join(filter(None, sentences))[:MAX_NOTE_CHARACTERS]


def fitted(scheme: WeightScheme, inputs: int) -> WeightScheme:
    """Return the scheme for a matrix of so many inputs: blocks must fill it, else there is one block a channel."""
    if scheme.format is Format.INTEGER and scheme.group_size is not None and inputs % scheme.group_size:
        return replace(scheme, granularity=Granularity.CHANNEL, group_size=None)
    return scheme


def palette(
    weight: NDArray[np.float32], entries: int, rounds: int = 40
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return each value's index into `entries` levels, and the levels, sorted: k-means in one dimension (Lloyd 1982).

    It begins at quantiles, so that the same weights always give the same levels.
    """
    flat = weight.ravel()
    levels = np.quantile(flat, (np.arange(entries) + 0.5) / entries).astype(np.float32)
    for _ in range(rounds):
        nearest = _nearest(flat, levels)
        counts = np.bincount(nearest, minlength=entries)
        sums = np.bincount(nearest, flat, entries)
        levels = np.sort(np.where(counts > 0, sums / np.maximum(counts, 1), levels)).astype(np.float32)
    return _nearest(flat, levels).astype(np.uint8).reshape(weight.shape), levels


def _nearest(values: NDArray[np.float32], levels: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, values)
