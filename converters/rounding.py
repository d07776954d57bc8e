"""Rounds weight matrices to small integers. Pure NumPy, no file format."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from converters.recipe import Granularity, WeightScheme


def round_weight(weight: NDArray[np.float32], scheme: WeightScheme) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Round float32 (inputs, outputs) to signed integers of the same shape and float32 scales; weight = code * scale.

    Scales have the shape () for granularity tensor, (outputs,) for channel and (ceil(inputs / group_size), outputs)
    for block. A block's scale is signed so that its largest magnitude takes the code -2^(bits-1), which uses the one
    code more on the negative side, as ggml's Q4_0 and onnxruntime's quantiser do.
    """
    grouped = _groups(weight, scheme)
    limit = 2 ** (scheme.bits - 1 - int(scheme.reduced_range))
    largest = np.take_along_axis(grouped, np.abs(grouped).argmax(1, keepdims=True), 1)
    if scheme.granularity is Granularity.TENSOR:
        largest = largest.ravel()[np.abs(largest).argmax()].reshape(1, 1, 1)
    scales = np.asarray(largest / -limit, np.float32)
    codes = np.round(np.divide(grouped, scales, out=np.zeros_like(grouped), where=scales != 0))
    kind = ml_dtypes.int4 if scheme.bits == 4 else np.int8
    rounded = codes.clip(-limit, limit - 1).reshape(-1, weight.shape[1])[: weight.shape[0]].astype(kind)
    shapes = {
        Granularity.TENSOR: (),
        Granularity.CHANNEL: (weight.shape[1],),
        Granularity.BLOCK: (grouped.shape[0], weight.shape[1]),
    }
    return rounded, scales.reshape(shapes[scheme.granularity])


def _groups(weight: NDArray[np.float32], scheme: WeightScheme) -> NDArray[np.float32]:
    """Reshape to (blocks, group, outputs), padded with zeros."""
    inputs, outputs = weight.shape
    group = scheme.group_size or inputs
    blocks = -(-inputs // group)
    padded = np.zeros((blocks * group, outputs), np.float32)
    padded[:inputs] = weight
    return padded.reshape(blocks, group, outputs)
