"""Makes the weights of a MIL program smaller, as a plan of layers says; arithmetic stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.coreml.frontend import Traced
from converters.coreml.library import IOS17, Builder, ScopeInfo, types
from converters.coreml.weight_forms import fitted, palette
from converters.recipe import Format, LayerScheme, WeightScheme
from converters.slabs import Rounded, round_matrix

HALF: Final = "_to_fp16"
"""What coremltools adds to the name of a constant that it rounds to half precision."""

UNPACKED: Final = "_unpacked"
"""What is added to the name of a constant that is compressed."""

_TABLE: Final = "gather"
_ORIGINS: Final = ("EXIR_STACK_TRACE", "EXIR_DEBUG_HANDLE")


def parameter_of(constant: str, parameters: Mapping[str, str]) -> str | None:
    """Return the parameter that a constant of a program holds, by its name."""
    return parameters.get(constant.removesuffix(UNPACKED).removesuffix(HALF))


@dataclass(frozen=True, slots=True)
class Compressed:
    """What became of one parameter: how it was rounded, and what it takes, codes and scales together."""

    scheme: WeightScheme
    parameters: int
    bytes: int


def compress(traced: Traced, plan: Mapping[str, LayerScheme], minimum: Any) -> dict[str, Compressed]:
    """Replace, in place, the constants that the plan names; return what became of each parameter."""
    done = {}
    for operation in list(traced.program.functions["main"].operations):
        parameter = parameter_of(operation.name, traced.parameters) if operation.op_type == "const" else None
        if parameter is not None and parameter in plan and operation.outputs[0].child_ops:
            scheme, shape = plan[parameter].weights, operation.outputs[0].shape
            size_bytes = operation.outputs[0].val.nbytes
            if scheme.format is not Format.FLOAT16:
                scheme = fitted(scheme, int(np.prod(shape[1:])))
                size_bytes = _replace(operation, scheme, minimum)
            done[parameter] = Compressed(scheme, int(np.prod(shape)), size_bytes)
    return done


def _replace(constant: Any, scheme: WeightScheme, minimum: Any) -> int:
    """Put a compressed constant in the place of a plain one; return how many bytes it takes."""
    value, dtype = constant.outputs[0], constant.outputs[0].val.dtype
    weight = np.asarray(value.val, np.float32)
    # a table of embeddings is rounded by column, as for all formats: a row serves one word, a column all of them
    table = any(user.op_type == _TABLE for user in value.child_ops)
    # coremltools writes no operation that doesn't say where it comes from
    origin = [
        ScopeInfo(source=source, data=data) for source, data in constant.scopes.items() if source.name in _ORIGINS
    ]
    with constant.enclosing_block, Builder.scope(*origin):
        place = {"name": constant.name + UNPACKED, "before_op": constant}
        if scheme.format is Format.PALETTE:
            compressed = Builder.constexpr_lut_to_dense(**_tables(weight, scheme, dtype), **place)
        else:
            parts = _integers(weight, scheme, dtype, table)
            if minimum == IOS17:
                compressed = Builder.constexpr_affine_dequantize(**_for_ios17(parts, table), **place)
            else:
                compressed = Builder.constexpr_blockwise_shift_scale(**parts, **place)
    block = constant.enclosing_block
    block.replace_uses_of_var_after_op(
        anchor_op=compressed.op, old_var=value, new_var=compressed, force_replace=True, no_check_var_types=True
    )
    block.remove_ops([constant])
    return sum(_size_bytes(value) for value in compressed.op.inputs.values() if value is not None)


def _size_bytes(constant: Any) -> int:
    half_bytes = constant.val.dtype == types.np_uint4_dtype
    return -(-constant.val.size // 2) if half_bytes else int(constant.val.nbytes)


def _integers(weight: NDArray[np.float32], scheme: WeightScheme, dtype: Any, table: bool) -> dict[str, Any]:
    """Round (outputs, inputs, ...), or a table (rows, columns), to the codes that other formats have.

    Scales come out positive, whatever their sign was, by counting 4-bit codes the other way round.
    """
    matrix = np.ascontiguousarray(weight.T if table else weight.reshape(weight.shape[0], -1))
    codes, scales, zeros = whole_numbers(round_matrix(matrix, replace(scheme, reduced_range=False)))
    shape = (*scales.shape, *(1,) * (weight.ndim - 2))
    if table:
        codes, scales, zeros, shape = codes.T, scales.T, zeros.T, scales.T.shape
    codes, size = codes.reshape(weight.shape), np.where(scales == 0, 1.0, np.abs(scales)).astype(dtype).reshape(shape)
    if scheme.bits == 8:
        return {"data": codes.astype(np.int8), "scale": size}
    top = 15 if scheme.zero_points else -1  # of signed codes, -1 - code counts the other way round
    turned = scales < 0
    per_code = np.repeat(turned, matrix.shape[1] // scales.shape[1], axis=1).reshape(weight.shape)
    codes, zeros = np.where(per_code, top - codes, codes), np.where(turned, top - zeros, zeros)
    signed = 0 if scheme.zero_points else 8
    return {
        "data": (codes + signed).astype(np.uint8).astype(types.np_uint4_dtype),
        "scale": size,
        "offset": (zeros + signed).astype(np.uint8).astype(types.np_uint4_dtype).reshape(shape),
    }


def whole_numbers(rounded: Rounded) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.int16]]:
    """Return codes (outputs, inputs), scales and zero points (outputs, blocks) of a rounded matrix."""
    inputs, outputs = rounded.shape
    scales = np.atleast_2d(rounded.scales)
    signed = rounded.zero_points is None
    if rounded.dtype in (np.int8, np.uint8):
        codes = rounded.codes.view(rounded.dtype).astype(np.int16)
        zeros = np.zeros(scales.shape) if rounded.zero_points is None else rounded.zero_points
    else:
        codes = _halves(rounded.codes, signed)[: inputs * outputs].reshape(inputs, outputs)
        zeros = np.zeros(scales.shape) if rounded.zero_points is None else _halves(rounded.zero_points, False)
    zeros = np.asarray(zeros, np.int16).ravel()[: scales.size].reshape(scales.shape)
    return codes.T, scales.T, zeros.T


def _halves(packed: NDArray[np.uint8], signed: bool) -> NDArray[np.int16]:
    """Return the two 4-bit codes of each byte, the lower half first."""
    codes = np.stack([packed & 15, packed >> 4], -1).ravel().astype(np.int16)
    return np.where(codes > 7, codes - 16, codes) if signed else codes


def _for_ios17(parts: Mapping[str, Any], table: bool) -> dict[str, Any]:
    """Return 8-bit codes as the older operation takes them: scales along one axis."""
    axis = np.int32(1 if table else 0)
    return {"quantized_data": parts["data"], "zero_point": np.int8(0), "scale": parts["scale"].ravel(), "axis": axis}


def _tables(weight: NDArray[np.float32], scheme: WeightScheme, dtype: Any) -> dict[str, Any]:
    """Give every group of outputs a table of 2^bits values; one table for all where groups don't fill them."""
    entries, outputs = 2**scheme.bits, weight.shape[0]
    size = scheme.group_size if scheme.group_size and outputs % scheme.group_size == 0 else outputs
    found = [palette(weight[start : start + size], entries) for start in range(0, outputs, size)]
    tables = np.stack([levels for _, levels in found]).astype(dtype)
    return {
        "indices": np.concatenate([indices for indices, _ in found]).astype(types.np_uint4_dtype),
        "lut": tables.reshape(len(found), *(1,) * (weight.ndim - 1), entries, 1),
    }
