"""Carries a plan out in TFLite: which kernel has which weights, and what it can't hold of the plan.

Dynamic quantisation: weights are small integers, activations are rounded to 8 bits while a layer runs, but for layers
whose source asks for float ones: their weights are as small, and unpacked when the file is opened. Here, and nowhere
else, is decided what becomes of layers that TFLite can't hold as planned; each is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.quantizer import Quantizer

from converters.recipe import Format, Granularity, LayerScheme, Recipe, WeightScheme
from converters.tflite_graph import Use
from edge_runtime.errors import ConversionError

CHANNEL: Final = Granularity.CHANNEL
FOUR_BITS: Final[Mapping[str, tuple[Granularity, ...]]] = {
    "FULLY_CONNECTED": (Granularity.BLOCK, CHANNEL), "EMBEDDING_LOOKUP": (Granularity.BLOCK, CHANNEL),
    "CONV_2D": (CHANNEL,),
}  # fmt: skip
"""Operator -> what shares a scale in 4 bits (ai-edge-quantizer 0.10, default_policy.py)."""

EIGHT_BITS: Final = ("FULLY_CONNECTED", "EMBEDDING_LOOKUP", "CONV_2D")
"""Operators with 8-bit weights, by channel, in XNNPACK. The one for depthwise convolutions is none of its kernels: with
it the vision network took twice the time, for two kilobytes."""

BLOCKS: Final = (32, 64, 128, 256)
LEAST_SCALE: Final = np.float16(2.0**-14)
"""The smallest normal float16: XNNPACK refuses a file whose blocks have a scale of 0 or a subnormal one."""


@dataclass(frozen=True, slots=True)
class Stored:
    """How a layer is stored, and what about it differs from the plan; `scheme` None: in float.

    `float_inputs`: its activations are not rounded.
    """

    scheme: WeightScheme | None
    change: str = ""
    float_inputs: bool = False


def check_recipe(recipe: Recipe) -> None:
    """Refuse what TFLite has no form for; raises ConversionError."""
    for layer, scheme in recipe.layers.items():
        weights = scheme.weights
        if weights.format is not Format.INTEGER or weights.rank:
            raise ConversionError(
                f"recipe {recipe.name} can't be written as TFLite",
                got=f"{layer.value} in {weights.precision}" + " with a low-rank path" * bool(weights.rank),
                allowed="plain integers of 8 or 4 bits", hint="take recipe fp32, int8 or int4",
            )


def stored(use: Use, scheme: LayerScheme) -> Stored:
    """Return how TFLite holds a planned layer.

    Zero points and searched ranges don't exist in its kernels: codes are symmetric. Blocks must divide the inputs.
    """
    wanted = replace(scheme.weights, zero_points=False, searched=False, reduced_range=False)
    if wanted.bits == 4:
        granularities = FOUR_BITS.get(use.operator, ())
        fits = wanted.group_size in BLOCKS and use.shape[-1] % (wanted.group_size or 1) == 0
        if wanted.granularity is Granularity.BLOCK and Granularity.BLOCK in granularities and fits:
            return Stored(wanted)
        if CHANNEL in granularities:
            changed = "" if wanted.granularity is CHANNEL else "4 bits by channel, as blocks don't fit"
            return Stored(WeightScheme(bits=4, granularity=CHANNEL), changed)
    if use.operator in EIGHT_BITS:
        return Stored(WeightScheme(bits=8, granularity=CHANNEL))
    return Stored(None, "float, as no fast kernel has integers")


def with_float_inputs(found: Stored) -> Stored:
    """Return how a layer is stored whose activations stay float: 8 bits a weight, as TFLite unpacks no others."""
    if found.scheme is None or found.scheme.bits != 8:
        return found
    return replace(found, change="8-bit weights, float activations", float_inputs=True)


def quantise(file: Path, layers: Iterable[tuple[Use, Stored]]) -> bytes:
    """Return the file's content with the weights of these operators as integers."""
    quantizer = Quantizer(str(file))
    for use, found in layers:
        if found.scheme is not None:
            quantizer.update_quantization_recipe(
                rf"(^|;){re.escape(use.output)};", qtyping.TFLOperationName(use.operator),
                _config(found.scheme, found.float_inputs),
            )
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # it prints sizes and draws bars
        content = quantizer.quantize().quantized_model
    assert content is not None  # there is one after `quantize`
    return bytes(content)


def clamp_scales(model: Any) -> int:
    """Raise scales of blocks below LEAST_SCALE to it, with the codes to match; return how many there were."""
    clamped = 0
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            details = None if tensor.quantization is None else tensor.quantization.details
            if isinstance(details, schema.BlockwiseQuantizationT):
                scales = model.buffers[graph.tensors[details.scales].buffer]
                clamped += _clamp(model.buffers[tensor.buffer], scales, details.blockSize)
    return clamped


def _clamp(codes: Any, scales: Any, block: int) -> int:
    factors = np.frombuffer(bytes(scales.data), np.float16).copy()
    small = np.abs(factors) < LEAST_SCALE
    if not small.any():
        return 0
    packed = np.frombuffer(bytes(codes.data), np.uint8)
    values = np.stack([packed & 15, packed >> 4], 1).reshape(-1, block).astype(np.int16)
    values = np.where(values > 7, values - 16, values)
    values[small] = np.rint(values[small] * (factors[small, None].astype(np.float32) / np.float32(LEAST_SCALE)))
    factors[small] = LEAST_SCALE
    nibbles = (values.reshape(-1, 2) & 15).astype(np.uint8)
    codes.data = nibbles[:, 0] | (nibbles[:, 1] << 4)
    scales.data = np.frombuffer(factors.tobytes(), np.uint8)
    return int(small.sum())


def _config(scheme: WeightScheme, float_inputs: bool) -> qtyping.OpQuantizationConfig:
    precision = qtyping.ComputePrecision
    granularity = qtyping.QuantGranularity.CHANNELWISE
    if scheme.group_size is not None:
        granularity = qtyping.QuantGranularity(f"BLOCKWISE_{scheme.group_size}")
    return qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=scheme.bits, granularity=granularity),
        compute_precision=precision.FLOAT if float_inputs else precision.INTEGER,
        explicit_dequantize=float_inputs,
    )
