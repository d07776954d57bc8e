"""Rounds large weight matrices by slabs of outputs, in torch's own layout and arithmetic: fast, and small in memory.

The same schemes as converters/rounding.py, and zero points beside them.

Matrices are (outputs, inputs), as torch keeps linear layers; codes come out as (inputs, outputs), as ONNX multiplies.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from converters.recipe import Granularity, WeightScheme
from converters.rounding import SEARCHED
from converters.source import Rows

SLAB_VALUES: Final = 1 << 18
"""Weights in float32 that are worked on at once: 1 MiB stays in a core's cache, which doubles the speed over 16 MiB."""

ENOUGH_DB: Final = 200.0
"""Signal to noise of a weight that rounding did not change, for instance of zeros."""

_SHRUNK: Final = (1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.82, 0.78, 0.74)
"""Shares of a block's range that the search with zero points tries."""

_SMALLEST_SCALE: Final = 1e-30
Span = tuple[int, int]
Result = TypeVar("Result")
_CODE_DTYPES: Final = {
    (4, False): ml_dtypes.int4, (4, True): ml_dtypes.uint4, (8, False): np.int8, (8, True): np.uint8,
}  # fmt: skip


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
    """Round float32 (outputs, inputs), whole or read by rows as they are needed; then `shape` says how large it is."""
    if isinstance(weight, np.ndarray):
        whole, shape = weight, (weight.shape[0], weight.shape[1])
        return _round_rows(lambda start, stop: whole[start:stop], shape, scheme)
    assert shape is not None
    return _round_rows(weight, shape, scheme)


def _round_rows(rows: Rows, shape: tuple[int, int], scheme: WeightScheme) -> Rounded:
    outputs, inputs = shape
    group = scheme.group_size or inputs
    blocks = -(-inputs // group)
    packer = _Packer(inputs, outputs, scheme.bits)
    scales = np.empty((outputs, blocks), np.float32)
    zeros = np.zeros((outputs, blocks), np.uint8) if scheme.zero_points else None

    def work(span: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, float, float]:
        grouped = _grouped(torch.from_numpy(rows(*span)), blocks, group)
        codes, scale, zero = _round(grouped, scheme)
        lost = codes.sub(zero).mul_(scale).sub_(grouped)
        noise, signal = (float(part.square_().sum(dtype=torch.float64)) for part in (lost, grouped))
        return packer.packed(codes.flatten(1)[:, :inputs]), scale, zero, signal, noise

    signal = noise = 0.0
    for (start, stop), (codes, scale, zero, some_signal, some_noise) in side_by_side(work, slabs(outputs, inputs)):
        packer.add(start, codes)
        scales[start:stop] = scale[:, :, 0].numpy()
        if zeros is not None:
            zeros[start:stop] = zero[:, :, 0].numpy()
        signal, noise = signal + some_signal, noise + some_noise
    flat = scales[:, 0] if scheme.granularity is Granularity.CHANNEL else np.ascontiguousarray(scales.T)
    return Rounded(
        codes=packer.codes,
        scales=flat,
        zero_points=None if zeros is None else packed(np.ascontiguousarray(zeros.T), scheme.bits),
        dtype=_CODE_DTYPES[scheme.bits, scheme.zero_points],
        shape=(inputs, outputs),
        snr_db=decibels(signal, noise),
    )


def round_table(rows: Rows, shape: tuple[int, int]) -> tuple[NDArray[np.int8], NDArray[np.float32], float]:
    """Round a table of embeddings to 8 bits with a scale a row; return codes, float32 (rows,) and decibels."""
    codes = np.empty(shape, np.int8)
    scales = np.empty(shape[0], np.float32)
    signal = noise = 0.0
    for start, stop in slabs(*shape):
        values = rows(start, stop)
        scale = np.abs(values).max(1) / np.float32(127)
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > _SMALLEST_SCALE)
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


def side_by_side(work: Callable[[Span], Result], spans: Iterable[Span]) -> Iterator[tuple[Span, Result]]:
    """Yield spans and their results in order; as many are worked on at once as there are cores.

    One thread of torch each: its own threads wait for one another after every operation, which costs milliseconds as
    soon as another process wants a core.
    """
    waiting: deque[tuple[Span, Future[Result]]] = deque()
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for span in spans:
            waiting.append((span, pool.submit(work, span)))
            if len(waiting) > workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


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


class _Packer:
    """Collects slabs of codes (outputs, inputs) into one array (inputs, outputs)."""

    def __init__(self, inputs: int, outputs: int, bits: int) -> None:
        self._pairs = bits == 4 and outputs % 2 == 0
        self._bits, self._outputs = bits, outputs
        self._codes = np.empty((inputs, outputs // 2 if self._pairs else outputs), np.uint8)

    def packed(self, codes: Tensor) -> Tensor:
        """Return the codes of some outputs, whole numbers in float32 (outputs, inputs), as they are added."""
        whole = codes.to(torch.int16).to(torch.uint8)
        return (whole[0::2] & 15) | (whole[1::2] << 4) if self._pairs else whole

    def add(self, start: int, whole: Tensor) -> None:
        """Take what `packed` made of the outputs from `start` on."""
        start = start // 2 if self._pairs else start
        torch.from_numpy(self._codes)[:, start : start + whole.shape[0]].copy_(whole.T)

    @property
    def codes(self) -> NDArray[Any]:
        """All codes; 4-bit ones packed and flat."""
        if self._bits == 8:
            return self._codes
        return self._codes.ravel() if self._pairs else packed(self._codes, 4)


def _grouped(slab: Tensor, blocks: int, group: int) -> Tensor:
    """Return a copy as (outputs, blocks, group), padded with zeros."""
    outputs, inputs = slab.shape
    if blocks * group == inputs:
        return slab.reshape(outputs, blocks, group).clone()
    wide = torch.zeros(outputs, blocks * group)
    wide[:, :inputs] = slab
    return wide.reshape(outputs, blocks, group)


def _round(grouped: Tensor, scheme: WeightScheme) -> tuple[Tensor, Tensor, Tensor]:
    """Return codes like grouped, scales and zero points (outputs, blocks, 1), all float32."""
    if scheme.zero_points:
        return _with_zero_points(grouped, scheme)
    limit = 1 << (scheme.bits - 1 - int(scheme.reduced_range))
    low, high = torch.aminmax(grouped, dim=2, keepdim=True)
    if scheme.bits == 8:  # one code more would gain nothing, and runtimes want positive scales of 8-bit weights
        scale = torch.maximum(high, -low) / (limit - 1)
    else:  # the largest magnitude falls on -limit, the one code more that the negative side has
        scale = torch.where(high > -low, high, low) / -limit
    if scheme.searched:
        scale = _searched(grouped, scale, limit)
    return _codes(grouped, scale, limit), scale, torch.zeros(())


def _codes(grouped: Tensor, scale: Tensor, limit: int) -> Tensor:
    return grouped.mul(_inverse(scale)).round_().clamp_(-limit, limit - 1)


def _searched(grouped: Tensor, scale: Tensor, limit: int) -> Tensor:
    """Return for each block the scale of SEARCHED with the smallest squared error."""
    best, least = scale, torch.full_like(scale, torch.inf)
    for factor in SEARCHED:
        tried = scale * float(factor)
        error = _codes(grouped, tried, limit).mul_(tried).sub_(grouped).square_().sum(2, keepdim=True)
        better = error < least
        best, least = torch.where(better, tried, best), torch.where(better, error, least)
    return best


def _with_zero_points(grouped: Tensor, scheme: WeightScheme) -> tuple[Tensor, Tensor, Tensor]:
    top = (1 << scheme.bits) - 1
    low, high = torch.aminmax(grouped, dim=2, keepdim=True)
    low, high = low.clamp_(max=0), high.clamp_(min=0)
    best: tuple[Tensor, Tensor] | None = None
    least = torch.full_like(low, torch.inf)
    for share in _SHRUNK if scheme.searched else _SHRUNK[:1]:
        scale = (high - low) * (share / top)
        zero = low.mul(-share).mul_(_inverse(scale)).round_()
        if not scheme.searched:
            best = scale, zero
            break
        codes = _shifted(grouped, scale, zero, top)
        error = codes.sub_(zero).mul_(scale).sub_(grouped).square_().sum(2, keepdim=True)
        better = error < least
        kept = best or (scale, zero)
        best = torch.where(better, scale, kept[0]), torch.where(better, zero, kept[1])
        least = torch.where(better, error, least)
    assert best is not None
    scale, zero = best
    return _shifted(grouped, scale, zero, top), scale, zero


def _shifted(grouped: Tensor, scale: Tensor, zero: Tensor, top: int) -> Tensor:
    return grouped.mul(_inverse(scale)).round_().add_(zero).clamp_(0, top)


def _inverse(scale: Tensor) -> Tensor:
    """Return 1 / scale, 0 where that is too large to compute with: a block of zeros has codes of zero."""
    return torch.where(scale.abs() < _SMALLEST_SCALE, torch.zeros(()), 1 / scale)
