"""Rounds large weight matrices to 4 bits with scales of two levels, by slabs of outputs in torch's arithmetic."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from converters.recipe import WeightScheme
from converters.slabs import SMALLEST_SCALE, decibels, slabs
from converters.slabs_torch import side_by_side
from converters.source import Rows
from converters.two_level import TwoLevel, fits

TOP_CODE: Final = 15
LARGEST: Final = 64
"""Magnitude that weights keep to in steps: without VNNI, x86 adds two 8x8-bit products in 16 bits."""

_FEWER: Final = (0, 1)
"""How many steps less than the block's range wants are tried as its multiple: what is cut off may be less than what
finer steps gain (0.5 dB on normal values; trying more than these gains nothing to speak of)."""


def round_rows(rows: Rows, shape: tuple[int, int], scheme: WeightScheme) -> TwoLevel:
    """Round float32 (outputs, inputs), `shape`, read by rows as they are needed; it must fit."""
    outputs, inputs = shape
    group = scheme.group_size
    assert group is not None
    assert fits((inputs, outputs), scheme)
    codes = np.empty((inputs // 2, outputs), np.uint8)
    blocks = np.empty((inputs // group, 1, outputs), np.uint8)
    steps = np.empty(outputs, np.float32)

    def work(span: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, float, float]:
        grouped = torch.from_numpy(rows(*span)).reshape(-1, inputs // group, group)
        step = grouped.abs().amax((1, 2), keepdim=True) / (LARGEST - 1)
        code, zero, multiple = _round(grouped * torch.where(step < SMALLEST_SCALE, torch.zeros(()), 1 / step))
        lost = code.sub(zero).mul_(multiple).mul_(step).sub_(grouped)
        noise, signal = (float(part.square().sum(dtype=torch.float64)) for part in (lost, grouped))
        low, high = code.flatten(1).to(torch.uint8).chunk(2, dim=1)
        return low | high << 4, (zero + 16 * multiple)[:, :, 0].to(torch.uint8), step[:, 0, 0], signal, noise

    signal = noise = 0.0
    for (start, stop), (some, block, step, some_signal, some_noise) in side_by_side(work, slabs(outputs, inputs)):
        torch.from_numpy(codes)[:, start:stop].copy_(some.T)
        torch.from_numpy(blocks)[:, 0, start:stop].copy_(block.T)
        steps[start:stop] = step.numpy()
        signal, noise = signal + some_signal, noise + some_noise
    return TwoLevel(codes, blocks, steps, decibels(signal, noise))


def _round(grouped: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return codes like grouped, zero points and multiples (outputs, blocks, 1), for values in steps, all float32."""
    low, high = torch.aminmax(grouped, dim=2, keepdim=True)
    low, high = low.clamp_(max=0), high.clamp_(min=0)
    whole = (high - low).div_(TOP_CODE).ceil_()
    best: tuple[Tensor, Tensor, Tensor] | None = None
    least = torch.full_like(low, torch.inf)
    for fewer in _FEWER:
        multiple = whole.sub(fewer).clamp_(1, TOP_CODE)
        beyond = (high - low).div_(multiple).sub_(TOP_CODE).clamp_(min=0)
        zero = low.neg().div_(multiple).sub_(beyond / 2).round_().clamp_(0, TOP_CODE)
        reach = multiple.reciprocal().mul_(LARGEST).floor_()
        code = grouped.div(multiple).round_()
        code = torch.minimum(torch.maximum(code, -reach), reach).add_(zero).clamp_(0, TOP_CODE)
        error = code.sub(zero).mul_(multiple).sub_(grouped).square_().sum(2, keepdim=True)
        better = error < least
        tried = (code, zero, multiple)
        best = tried if best is None else _of_better(better, tried, best)
        least = torch.minimum(error, least)
    assert best is not None
    return best


def _of_better(
    better: Tensor, tried: tuple[Tensor, Tensor, Tensor], best: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    code, zero, multiple = (torch.where(better, new, old) for new, old in zip(tried, best, strict=True))
    return code, zero, multiple
