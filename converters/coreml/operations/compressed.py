"""Operations that hold a compressed weight; Core ML unpacks them when it loads a model, or in its kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from converters.coreml.arguments import Arguments

Operation = Callable[[Arguments], Tensor]


def affine_dequantize(given: Arguments) -> Tensor:
    """8-bit codes with a scale and a zero point, or one of each along an axis (iOS 16 and later)."""
    codes, axis = given.tensor("quantized_data").float(), given.whole("axis")
    shape = [-1 if place == axis % codes.ndim else 1 for place in range(codes.ndim)]
    scale, zero = (_along(given.tensor(name).float(), shape) for name in ("scale", "zero_point"))
    return (codes - zero) * scale


def blockwise_shift_scale(given: Arguments) -> Tensor:
    """Codes of 4 or 8 bits in blocks, with a scale and perhaps an offset each (iOS 18 and later)."""
    codes = given.tensor("data").float()
    scale = _spread(given.tensor("scale").float(), codes.shape)
    offset = given.optional("offset")
    return scale * (codes if offset is None else codes - _spread(offset.float(), codes.shape))


def lut_to_dense(given: Arguments) -> Tensor:
    """Indices into tables of values; a table for each block of the weight (iOS 18 and later)."""
    indices, tables = given.tensor("indices"), given.tensor("lut")
    *blocks, entries, width = tables.shape
    assert width == 1
    chosen = [torch.arange(count) for count in blocks]
    for axis, (size, count) in enumerate(zip(indices.shape, blocks, strict=True)):
        shape = [1] * indices.ndim
        shape[axis] = size
        chosen[axis] = chosen[axis].repeat_interleave(size // count).reshape(shape)
    return tables[..., 0][(*chosen, indices.long())].float()


def _along(values: Tensor, shape: list[int]) -> Tensor:
    return values.reshape(shape) if values.ndim else values


def _spread(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Repeat each value over its block."""
    for axis, size in enumerate(shape):
        if values.shape[axis] != size:
            values = values.repeat_interleave(size // values.shape[axis], axis)
    return values


OPERATIONS: Final[Mapping[str, Operation]] = {
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_lut_to_dense": lut_to_dense,
}
