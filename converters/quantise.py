"""Applies a recipe to a float ONNX graph: static QDQ for layers with 8-bit activations, weights alone for the others.

Only standard operators come out (QuantizeLinear, DequantizeLinear), so that every ONNX runtime reads the file;
onnxruntime fuses them into its integer kernels when it opens it. NF4 alone needs one of onnxruntime's own. How weights
alone get into the graph is in `weights.py`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from converters.graph import TRANSPOSED
from converters.layers import precision_of
from converters.ranges import search_ranges
from converters.recipe import Between, Format, Granularity, Layer, LayerScheme, Recipe
from converters.source import Arrays
from converters.weight_rounding import round_weights
from converters.weights import NF4_BLOCKS, quantise_weight
from edge_runtime.errors import ConversionError
from edge_runtime.tensors import Tensor

WEIGHT_INPUTS: Final = {"Conv": 1, "MatMul": 1, "Gather": 0}
"""Operator of a layer -> which of its inputs is the weight."""
CODES: Final = (".codes", "_quantized", ".nf4")
"""What is put behind the name of a weight for the codes in its place: here, by quantize_static, for NF4."""

BESIDE_CODES: Final = (".scales", ".zeros", ".left", ".right", ".largest", "_scale", "_zero_point")
"""And for what belongs to them."""

CODING: Final = ("QuantizeLinear", "DequantizeLinear")
BETWEEN: Final = {Between.ADD: "Add", Between.RELU: "Relu"}
_AROUND_ZERO: Final = {
    "ActivationSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": list(WEIGHT_INPUTS),
}
"""What signed activations mean: codes without a zero point for what layers read alone, biases in float."""


def quantise(
    model: onnx.ModelProto, recipe: Recipe, samples: Iterable[Arrays], plan: Mapping[str, LayerScheme],
    hard: Iterable[Arrays] = (),
) -> tuple[onnx.ModelProto, str]:
    """Return the quantised graph and its precision, such as `int8` or `nf4-int8`; `fp32` if no layer fitted.

    `samples` are calibration inputs, and `hard` those that the search of ranges and the rounding of weights must also
    do well on, without which neither is done; they are read only when the recipe quantises activations. `plan` has the
    scheme of each initialiser that is to become smaller, by its name in the graph. The model given is left as it is.
    Raises ConversionError.
    """
    check_expressible(recipe)
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    layers = _layers(quantised, plan)
    static = {name: scheme for name, scheme in layers.items() if scheme.calibrated}
    if static:
        assert recipe.calibration is not None  # Recipe checks it
        chosen = _chosen(samples, recipe.calibration.samples)
        quantised = _quantise_static(quantised, recipe, static, chosen)
        extreme = list(hard) if recipe.calibration.wants_hard else []
        if recipe.calibration.searched and extreme:
            search_ranges(quantised, model, [*chosen, *extreme])
        if recipe.calibration.compensated and extreme:
            round_weights(quantised, model, [*chosen, *extreme])
    for name in [name for name in layers if name not in static]:
        quantise_weight(quantised, name, layers[name].weights)
    return quantised, precision_of(layers.values())


def check_expressible(recipe: Recipe) -> None:
    """Refuse what ONNX has no operators for: raises ConversionError."""
    if any(scheme.weights.format is Format.BFLOAT16 for scheme in recipe.layers.values()):
        raise ConversionError(
            f"recipe {recipe.name} is for checkpoints in diffusers layout", hint="this model is small: take fp32"
        )
    recipe.require((Format.INTEGER, Format.NF4), "ONNX")
    convolution, embedding = recipe.layers.get(Layer.CONVOLUTION), recipe.layers.get(Layer.EMBEDDING)
    if convolution and not convolution.calibrated:
        raise ConversionError(f"recipe {recipe.name}: ONNX convolutions need activations with calibrated ranges")
    if embedding and (embedding.activations or embedding.weights.granularity is not Granularity.CHANNEL):
        raise ConversionError(f"recipe {recipe.name}: ONNX embeddings are quantised by channel, weights alone")
    for layer, scheme in recipe.layers.items():
        _check_weights(recipe.name, layer, scheme)


def _check_weights(recipe: str, layer: Layer, scheme: LayerScheme) -> None:
    """Refuse NF4 and low-rank paths where a graph can't hold them."""
    weights = scheme.weights
    plain = weights.format is Format.INTEGER and not weights.rank
    if not plain and (layer is not Layer.MATMUL or scheme.activations):
        raise ConversionError(
            f"recipe {recipe}: in ONNX, NF4 and low-rank paths are for matrix products, weights alone", got=layer.value
        )
    if weights.format is Format.NF4 and weights.group_size not in NF4_BLOCKS:
        allowed = ", ".join(map(str, NF4_BLOCKS))
        raise ConversionError(
            f"recipe {recipe}: onnxruntime has no NF4 of this group_size", got=weights.group_size, allowed=allowed
        )


def initialisers_of(model: onnx.ModelProto, parameters: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the graph's initialiser -> the parameter that it holds, as it is or transposed.

    Most initialisers are called like their parameter. The exporter drops the name where it transposes a matrix for
    a product; those are found again by their values.
    """
    matrices = {(array.T.shape, array.T.tobytes()): name for name, array in parameters.items() if array.ndim == 2}
    found = {}
    for tensor in model.graph.initializer:
        name: str | None = tensor.name.removesuffix(TRANSPOSED)
        if name not in parameters:
            array = onnx.numpy_helper.to_array(tensor) if len(tensor.dims) == 2 else np.empty(0)
            name = matrices.get((array.shape, array.tobytes()))
        if name is not None:
            found[tensor.name] = name
    return found


def layer_sizes(model: onnx.ModelProto, plan: Mapping[str, LayerScheme]) -> dict[str, tuple[int, int]]:
    """Return precision -> parameters and bytes of the layers that have it, codes and scales and what belongs to them.

    `plan` is by the names of initialisers before the graph was quantised.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    sizes: dict[str, tuple[int, int]] = {}
    for weight, scheme in plan.items():
        codes = next((tensors[weight + end] for end in CODES if weight + end in tensors), None)
        if codes is None:
            continue
        parts = [tensors[name] for end in (*CODES, *BESIDE_CODES) if (name := weight + end) in tensors]
        parameters, size = sizes.get(scheme.weights.precision, (0, 0))
        count = 2 * math.prod(codes.dims) if scheme.weights.format is Format.NF4 else math.prod(codes.dims)
        sizes[scheme.weights.precision] = (parameters + count, size + sum(map(_bytes, parts)))
    return sizes


def _bytes(tensor: onnx.TensorProto) -> int:
    return len(tensor.raw_data) or int(onnx.numpy_helper.to_array(tensor).nbytes)


def _layers(model: onnx.ModelProto, plan: Mapping[str, LayerScheme]) -> dict[str, LayerScheme]:
    """Node name -> scheme of every layer whose weight the plan names."""
    layers = {}
    for node in model.graph.node:
        position = WEIGHT_INPUTS.get(node.op_type)
        if position is not None and node.input[position] in plan:
            layers[node.name] = plan[node.input[position]]
    return layers


def _quantise_static(
    model: onnx.ModelProto, recipe: Recipe, layers: dict[str, LayerScheme], samples: Sequence[Arrays]
) -> onnx.ModelProto:
    """Insert QuantizeLinear and DequantizeLinear with ranges measured on the samples."""
    scheme = _one_scheme(recipe, layers)
    assert scheme.activations is not None  # calibrated layers have them
    names = _with_between(model, set(layers), {BETWEEN[operation] for operation in recipe.between})
    # tells quantize_static that shapes are inferred and nodes fused already, as the export does
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    # the calibrator also looks at operations of these types that stay in float, and those may well hold infinities
    with tempfile.TemporaryDirectory() as folder, np.errstate(invalid="ignore"):
        path = Path(folder) / "quantised.onnx"
        quantize_static(
            model,
            path,
            _Samples(samples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted({node.op_type for node in model.graph.node if node.name in names}),
            nodes_to_quantize=sorted(names),
            per_channel=scheme.weights.granularity is Granularity.CHANNEL,
            reduce_range=scheme.weights.reduced_range,
            activation_type=QuantType.QInt8 if scheme.activations.signed else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=_AROUND_ZERO if scheme.activations.signed else None,
        )
        quantised = onnx.load(path)
    _bypass(quantised, names)
    return quantised


def _bypass(model: onnx.ModelProto, names: set[str]) -> None:
    """Let float operations read what other float operations gave: quantize_static rounds a tensor for all who read it
    as soon as one of them is quantised, and so the sums that residual blocks add to (0.1 dB of noise in restoration).
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.name in names or node.op_type in CODING:
            continue
        for place, name in enumerate(node.input):
            original = _before_coding(name, makers)
            if original not in makers or makers[original].name not in names:
                node.input[place] = original


def _before_coding(name: str, makers: Mapping[str, onnx.NodeProto]) -> str:
    """Return the tensor that a QuantizeLinear with a DequantizeLinear behind it was given, or else the name itself."""
    found = name
    for operator in reversed(CODING):
        if found not in makers or makers[found].op_type != operator:
            return name
        found = makers[found].input[0]
    return found


def _one_scheme(recipe: Recipe, layers: dict[str, LayerScheme]) -> LayerScheme:
    schemes = list(dict.fromkeys(layers.values()))
    if len(schemes) > 1 or schemes[0].weights.bits != 8:
        raise ConversionError(
            f"recipe {recipe.name} asks for a mixture that ONNX can't hold",
            got=schemes,
            allowed="one scheme of 8-bit weights for all layers with quantised activations",
        )
    return schemes[0]


def _with_between(model: onnx.ModelProto, names: set[str], operators: set[str]) -> set[str]:
    """Add the operations whose every input comes out of a quantised node: others would gain nothing from 8 bits, and
    could lose all, such as the -inf of an attention mask.
    """
    constant = {tensor.name for tensor in model.graph.initializer}
    quantised: set[str] = set()
    chosen = set(names)
    for node in model.graph.node:  # in topological order
        inputs = [name for name in node.input if name and name not in constant]
        if node.op_type in operators and inputs and all(name in quantised for name in inputs):
            chosen.add(node.name)
        if node.name in chosen:
            quantised.update(node.output)
    return chosen


def _chosen(samples: Iterable[Arrays], limit: int) -> list[Arrays]:
    """Return at most `limit` samples; raises ConversionError for none."""
    chosen = [sample for sample, _ in zip(samples, range(limit), strict=False)]
    if not chosen:
        raise ConversionError("a component has no calibration inputs", hint="its source must yield some")
    return chosen


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    """Hands the samples to onnxruntime's calibrator."""

    def __init__(self, samples: Iterable[Arrays]) -> None:
        self._rest: Iterator[Arrays] = iter(samples)

    def get_next(self) -> dict[str, Tensor] | None:
        """Return the next sample, None at the end (onnxruntime's protocol)."""
        sample = next(self._rest, None)
        return None if sample is None else dict(sample)
