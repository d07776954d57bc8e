"""Rounds large weight matrices by slabs: fast, and small in memory.

The same schemes as converters/rounding.py, and zero points beside them; the arithmetic is in slabs_torch.py and
slabs_onnxruntime.py. Codes come out as (inputs, outputs), as ONNX multiplies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from converters.recipe import WeightScheme
from converters.source import Rows

SLAB_VALUES: Final = 1 << 18
"""Weights in float32 that are worked on at once: 1 MiB stays in a core's cache, which doubles the speed over 16 MiB."""

ENOUGH_DB: Final = 200.0
"""Signal to noise of a weight that rounding did not change, for instance of zeros."""

SMALLEST_SCALE: Final = 1e-30
"""A scale below it is that of a block of zeros."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """A weight matrix as codes.

    codes: integers (inputs, outputs), two to a byte along the outputs when they have 4 bits (flattened uint8 then).
    scales: float32 (blocks, outputs), or (outputs,) without blocks; a weight is (code - zero point) * scale.
    zero_points: as scales, packed like codes; None when all are 0. snr_db: of the weights, in decibels.
    """

    codes: NDArray[Any]
    scales: NDArray[np.float32]
    zero_points: NDArray[Any] | None
    dtype: Any
    shape: tuple[int, int]
    snr_db: float


def round_matrix(
    weight: NDArray[np.float32] | Rows, scheme: WeightScheme, shape: tuple[int, int] | None = None
) -> Rounded:
    """Round float32 (outputs, inputs), torch's layout, whole or read by rows; then `shape` says how large it is."""
    from converters.slabs_torch import round_rows  # here, as whoever rounds plainly need not wait for torch

    if isinstance(weight, np.ndarray):
        whole, shape = weight, (weight.shape[0], weight.shape[1])
        return round_rows(lambda start, stop: whole[start:stop], shape, scheme)
    assert shape is not None
    return round_rows(weight, shape, scheme)


def round_multiplied(rows: Rows, scheme: WeightScheme, shape: tuple[int, int]) -> Rounded:
    """Round float32 (inputs, outputs), ONNX's layout, read by rows."""
    from converters.slabs_onnxruntime import is_done, round_plainly

    if is_done(scheme, shape):
        return round_plainly(rows, shape, scheme)
    return round_matrix(np.ascontiguousarray(rows(0, shape[0]).T), scheme)


def round_table(rows: Rows, shape: tuple[int, int]) -> tuple[NDArray[np.int8], NDArray[np.float32], float]:
    """Round a table of embeddings to 8 bits with a scale a row; return codes, float32 (rows,) and decibels."""
    codes = np.empty(shape, np.int8)
    scales = np.empty(shape[0], np.float32)
    signal = noise = 0.0
    for start, stop in slabs(*shape):
        values = rows(start, stop)
        scale = np.abs(values).max(1) / np.float32(127)
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > SMALLEST_SCALE)
        rounded = np.rint(values * inverse[:, None])
        codes[start:stop], scales[start:stop] = rounded, scale
        signal += float(np.square(values).sum(dtype=np.float64))
        noise += float(np.square(rounded * scale[:, None] - values).sum(dtype=np.float64))
    return codes, scales, decibels(signal, noise)


def slabs(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows of about SLAB_VALUES values; even numbers of rows, so that pairs stay together."""
    step = max(2, SLAB_VALUES // columns // 2 * 2)
    for start in range(0, rows, step):
        yield start, min(rows, start + step)


def code_dtype(scheme: WeightScheme) -> Any:
    """Return the type of a scheme's codes: unsigned with zero points."""
    signed, unsigned = (ml_dtypes.int4, ml_dtypes.uint4) if scheme.bits == 4 else (np.int8, np.uint8)
    return unsigned if scheme.zero_points else signed


def decibels(signal: float, noise: float) -> float:
    """Return the ratio of two sums of squares in decibels, at most ENOUGH_DB."""
    return ENOUGH_DB if noise <= signal * 10 ** (-ENOUGH_DB / 10) else 10 * math.log10(signal / noise)


def packed(codes: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return codes as ONNX stores them: two 4-bit codes to a byte, the first in the low half, over all rows."""
    if bits == 8:
        return codes
    flat = codes.astype(np.uint8).ravel() & 15
    flat = np.pad(flat, (0, flat.size % 2))
    return np.asarray(flat[0::2] | (flat[1::2] << 4), np.uint8)


