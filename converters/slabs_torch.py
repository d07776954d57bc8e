"""Rounds large weight matrices by slabs of outputs in torch's arithmetic: every scheme, fast, and small in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from converters.recipe import Granularity, WeightScheme
from converters.rounding import SEARCHED
from converters.slabs import SMALLEST_SCALE, Rounded, code_dtype, decibels, packed, slabs
from converters.source import Rows

_SHRUNK: Final = (1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.82, 0.78, 0.74)
"""Shares of a block's range that the search with zero points tries."""

Span = tuple[int, int]
Result = TypeVar("Result")


def round_rows(rows: Rows, shape: tuple[int, int], scheme: WeightScheme) -> Rounded:
    """Round float32 (outputs, inputs), `shape`, read by rows as they are needed."""
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
        dtype=code_dtype(scheme),
        shape=(inputs, outputs),
        snr_db=decibels(signal, noise),
    )


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
    elif scheme.positive:
        scale = torch.maximum(high / (limit - 1), low / -limit)
    else:  # the largest magnitude falls on -limit, the one code more that the negative side has
        scale = torch.where(high > -low, high, low) / -limit
    if scheme.searched:
        factors = [factor for factor in SEARCHED if factor > 0 or not scheme.positive]
        scale = _searched(grouped, scale, limit, factors)
    return _codes(grouped, scale, limit), scale, torch.zeros(())


def _codes(grouped: Tensor, scale: Tensor, limit: int) -> Tensor:
    return grouped.mul(_inverse(scale)).round_().clamp_(-limit, limit - 1)


def _searched(grouped: Tensor, scale: Tensor, limit: int, factors: Sequence[float]) -> Tensor:
    """Return for each block the scale with the smallest squared error."""
    best, least = scale, torch.full_like(scale, torch.inf)
    for factor in factors:
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
    return torch.where(scale.abs() < SMALLEST_SCALE, torch.zeros(()), 1 / scale)
