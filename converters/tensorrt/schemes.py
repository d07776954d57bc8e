"""What TensorRT has for a recipe: the one place where a plan of layers meets what its strongly typed graphs can hold.

    8 bits, calibrated      codes around zero for what a layer reads, a scale a channel for its weights; 8-bit products
    8 bits, weights alone   the same weights; products in half precision
    4 bits in blocks        signed codes around zero with a scale a block of inputs; products in half precision
    float16                 nothing but half precision

TensorRT's quantisation is symmetric: a `DequantizeLinear` with a zero point other than 0 is refused
(https://docs.nvidia.com/deeplearning/tensorrt/10.11.0/inference-library/work-quantized-types.html), and so is a scale
below 0 (its parser says so). So activations are signed, blocks have no zero points, scales are positive, and the bit
that `reduced_range` leaves out for old x86 processors is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from converters.recipe import ActivationScheme, Format, Granularity, Layer, LayerScheme, Recipe
from edge_runtime.errors import ConversionError

AROUND_ZERO: Final = "4-bit codes without the recipe's zero points, which TensorRT has not"


def check_expressible(recipe: Recipe) -> None:
    """Raise ConversionError, naming the layers, for a recipe that TensorRT has no form for."""
    recipe.require((Format.INTEGER, Format.FLOAT16), "TensorRT")
    for layer, scheme in recipe.layers.items():
        weights = scheme.weights
        matrix = layer is Layer.MATMUL
        fits = weights.bits == 8 and weights.granularity is Granularity.CHANNEL or matrix and weights.bits == 4
        if weights.format is Format.INTEGER and (not fits or weights.rank):
            raise ConversionError(
                f"recipe {recipe.name}: no such weights are written for TensorRT in layers of kind {layer.value}",
                got=f"{weights.precision} by {weights.granularity.value}, rank {weights.rank}",
                allowed="8 bits by channel; matrix products in 4 bits; float16",
                hint="take recipe fp16, int8 or int4",
            )


def fitted(recipe: Recipe) -> Recipe:
    """Return the recipe in TensorRT's forms: the same layers at the same bits, all codes around zero.

    No operation without weights is rounded: TensorRT fuses it with the layer before, whose result then stays whole.
    """
    return replace(recipe, layers={kind: _fitted(each) for kind, each in recipe.layers.items()}, between=())


def remark(plan: Mapping[str, LayerScheme]) -> str:
    """Say in words what of a plan is written otherwise; empty if nothing is."""
    return AROUND_ZERO if any(scheme.weights.zero_points for scheme in plan.values()) else ""


def weights_alone(recipe: Recipe) -> Recipe:
    """Return the recipe without 8-bit activations: the same weights, products in half precision."""
    layers = {kind: replace(each, activations=None) for kind, each in recipe.layers.items()}
    return replace(recipe, layers=layers)


def _fitted(scheme: LayerScheme) -> LayerScheme:
    weights = scheme.weights
    if weights.format is not Format.INTEGER:
        return LayerScheme(weights=weights)
    weights = replace(weights, zero_points=False, reduced_range=False, positive=True)
    activations = ActivationScheme(bits=8, signed=True) if scheme.calibrated else None
    return LayerScheme(weights=weights, activations=activations)
