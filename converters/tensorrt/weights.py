"""Puts integers into the float graph of a small component, in TensorRT's forms (converters/tensorrt/schemes.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import onnx

from converters import graph
from converters.quantise import quantise
from converters.recipe import Format, Layer, LayerScheme, Recipe
from converters.slabs import round_matrix
from converters.source import Arrays


def round_weights(
    traced: onnx.ModelProto,
    recipe: Recipe,
    plan: Mapping[str, LayerScheme],
    samples: Callable[[], Iterable[Arrays]],
) -> tuple[onnx.ModelProto, dict[str, LayerScheme]]:
    """Return the graph with codes for its weights, and which initialisers they stand for; raises ConversionError.

    `plan` has the scheme of each initialiser; those in half precision are left to converters/tensorrt/typed.py.
    """
    integers = {name: each for name, each in plan.items() if each.weights.format is Format.INTEGER}
    kept = {kind: each for kind, each in recipe.layers.items() if each.weights.format is Format.INTEGER}
    rounded: set[str] = set()
    model = onnx.ModelProto()
    model.CopyFrom(traced)
    if (convolutions := kept.get(Layer.CONVOLUTION)) is not None and not convolutions.calibrated:
        rounded = _round_convolutions(model, integers)
        del kept[Layer.CONVOLUTION]
    left = {name: each for name, each in integers.items() if name not in rounded}
    model, _ = quantise(model, replace(recipe, layers=kept), samples(), left)
    graph.strip(model)
    return model, integers


def _round_convolutions(model: onnx.ModelProto, plan: Mapping[str, LayerScheme]) -> set[str]:
    """Put a `DequantizeLinear` with a scale an output before every convolution whose weight `plan` names; return those.

    The targets of ONNX Runtime don't: it has no kernel for convolutions with 8-bit weights alone.
    """
    body = model.graph
    names = {node.input[1] for node in body.node if node.op_type == "Conv"} & set(plan)
    for weight in [tensor for tensor in body.initializer if tensor.name in names]:
        array = np.array(onnx.numpy_helper.to_array(weight))  # a copy: torch wants to be able to write
        rounded = round_matrix(np.ascontiguousarray(array.reshape(len(array), -1)), plan[weight.name].weights)
        codes = np.ascontiguousarray(rounded.codes.T).view(np.int8).reshape(array.shape)
        name = weight.name
        parts = [f"{name}.codes", f"{name}.scales"]
        body.initializer.append(onnx.numpy_helper.from_array(codes, parts[0]))
        body.initializer.append(onnx.numpy_helper.from_array(rounded.scales, parts[1]))
        body.initializer.remove(weight)
        unpacked = onnx.helper.make_node("DequantizeLinear", parts, [name], f"{name}.dequantise", axis=0)
        body.node.insert(0, unpacked)
    return names
