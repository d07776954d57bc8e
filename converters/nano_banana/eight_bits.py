"""Convolutions that can be trained as they run after conversion: on 8-bit activations, with weights of 7 bits.

Rounding is the recipe's (converters/recipes/int8.json), its gradient that of no rounding (Bengio et al. 2013).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_STEPS, _WEIGHT_STEPS = 255, 64
"""Activations have so many steps from their lowest to their highest value, weights from 0 to their largest."""

_SHARE_IN_RANGE = 0.9
_LEAST = 1e-12


class Convolution(nn.Conv2d):
    """A convolution in float or, after `train_in_eight_bits`, on rounded inputs and weights while it trains.

    `rounds_result`: what comes out is rounded too, as it is before an addition; between two convolutions one rounding
    is enough.
    """

    def __init__(
        self, before: int, after: int, side: int, *, stride: int = 1, padding: int = 0, rounds_result: bool = False
    ) -> None:
        super().__init__(before, after, side, stride, padding)
        self.in_eight_bits, self.rounds_result = False, rounds_result

    def forward(self, features: Tensor) -> Tensor:
        """Return like any convolution, (batch, after, height, width)."""
        if not (self.in_eight_bits and self.training):
            return super().forward(features)
        weight = _rounded(self.weight, self.weight.detach().abs().amax((1, 2, 3), keepdim=True) / _WEIGHT_STEPS)
        result = self._conv_forward(rounded(features), weight, self.bias)
        return rounded(result) if self.rounds_result else result


def train_in_eight_bits(net: nn.Module) -> None:
    """Let all its convolutions of this kind round from now on, while they train."""
    for module in net.modules():
        if isinstance(module, Convolution):
            module.in_eight_bits = True


def rounded(features: Tensor) -> Tensor:
    """Return features (batch, channels, height, width) in 256 steps, 0 among them, cut to a range that the values of
    nine in ten pictures stay in.
    """
    # in channels-last order, or each would be copied first; one by one, as torch is slow along an axis of many
    extremes = [picture.aminmax() for picture in features.detach().permute(0, 2, 3, 1)]
    low, high = (torch.stack(ends).float() for ends in zip(*extremes, strict=True))
    least = min(0.0, float(low.quantile(1 - _SHARE_IN_RANGE)))
    most = max(0.0, float(high.quantile(_SHARE_IN_RANGE)))
    step = torch.tensor((most - least) / _STEPS, device=features.device)
    return _rounded(functional.hardtanh(features, least, most), step)  # which is clamp with a faster gradient


def _rounded(values: Tensor, step: Tensor) -> Tensor:
    result: Tensor = _Rounding.apply(values, step.clamp(min=_LEAST))  # type: ignore[no-untyped-call]
    return result


class _Rounding(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, step: Tensor) -> Tensor:
        return (values / step).round_().mul_(step)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
