"""Rounds weight matrices to small integers. Pure NumPy, no file format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from converters.recipe import Granularity, WeightScheme

SEARCHED: Final = tuple(sign * share / 40 for share in range(28, 46) for sign in (1, -1))
"""What scales are tried, times that of the largest magnitude; a negative one gives the code more to the other side."""


def round_weight(weight: NDArray[np.float32], scheme: WeightScheme) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Round float32 (inputs, outputs) to signed integers of the same shape and float32 scales; weight = code * scale.

    Scales have the shape () for granularity tensor, (outputs,) for channel and (ceil(inputs / group_size), outputs)
    for block. A block's scale is signed so that its largest magnitude takes the code -2^(bits-1), which uses the one
    code more on the negative side, as ggml's Q4_0 and onnxruntime's quantiser do, unless the scheme wants positive
    ones. A searched scale may cut the largest
    magnitudes off, where that makes the rest more exact.
    """
    grouped = _groups(weight, scheme)
    limit = 2 ** (scheme.bits - 1 - int(scheme.reduced_range))
    largest = np.take_along_axis(grouped, np.abs(grouped).argmax(1, keepdims=True), 1)
    if scheme.granularity is Granularity.TENSOR:
        largest = largest.ravel()[np.abs(largest).argmax()].reshape(1, 1, 1)
    scales = np.asarray(largest / -limit, np.float32)
    if scheme.positive:
        scales = np.where(scales < 0, -scales * np.float32(limit / (limit - 1)), scales)
    if scheme.searched:
        factors = [factor for factor in SEARCHED if factor > 0 or not scheme.positive]
        scales = _searched(grouped, scales, limit, factors)
    codes = _codes(grouped, scales, limit)
    kind = ml_dtypes.int4 if scheme.bits == 4 else np.int8
    rounded = codes.reshape(-1, weight.shape[1])[: weight.shape[0]].astype(kind)
    shapes = {
        Granularity.TENSOR: (),
        Granularity.CHANNEL: (weight.shape[1],),
        Granularity.BLOCK: (grouped.shape[0], weight.shape[1]),
    }
    return rounded, scales.reshape(shapes[scheme.granularity])


def restore_weight(
    codes: NDArray[Any], scales: NDArray[np.float32], scheme: WeightScheme
) -> NDArray[np.float32]:
    """Return the float32 (inputs, outputs) that codes and scales stand for: what the runtime computes with."""
    if scheme.group_size is not None:
        scales = np.repeat(scales, scheme.group_size, axis=0)[: codes.shape[0]]
    return np.asarray(codes.astype(np.float32) * scales, np.float32)


def _codes(grouped: NDArray[np.float32], scales: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    codes = np.round(np.divide(grouped, scales, out=np.zeros_like(grouped), where=scales != 0))
    return np.asarray(codes.clip(-limit, limit - 1), np.float32)


def _searched(
    grouped: NDArray[np.float32], scales: NDArray[np.float32], limit: int, factors: Sequence[float]
) -> NDArray[np.float32]:
    """Return for each group, (blocks, 1, outputs), the scale with the smallest squared error."""
    best, least = scales, np.full(scales.shape, np.inf, np.float32)
    for factor in factors:
        tried = np.asarray(factor * scales, np.float32)
        axes = (1,) if scales.size > 1 else None
        error = ((_codes(grouped, tried, limit) * tried - grouped) ** 2).sum(axes, keepdims=True)
        best, least = np.where(error < least, tried, best), np.minimum(error, least)
    return best


def _groups(weight: NDArray[np.float32], scheme: WeightScheme) -> NDArray[np.float32]:
    """Reshape to (blocks, group, outputs), padded with zeros."""
    inputs, outputs = weight.shape
    group = scheme.group_size or inputs
    blocks = -(-inputs // group)
    padded = np.zeros((blocks * group, outputs), np.float32)
    padded[:inputs] = weight
    return padded.reshape(blocks, group, outputs)
