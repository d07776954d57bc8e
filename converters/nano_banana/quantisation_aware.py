"""Training a network of convolutions with the rounding that its 8-bit form will have (Jacob et al. 2018).

What every convolution and block takes and gives is rounded to 8 bits, and weights to 7 bits a channel, as the int8
recipe does; gradients pass as if nothing were rounded. The network's code knows nothing of it, and afterwards it is a
float network again whose weights have settled where rounding hurts little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS: Final = 255
WEIGHT_LIMIT: Final = 64
"""Weights are rounded to -64..64 steps: with 8 bits the sums of two products overflow on processors without VNNI."""

FOLLOWING: Final = 0.05
"""How fast the ranges follow those of a batch."""


class Rounded(nn.Module):
    """Rounds a tensor to 256 values between its usual extremes, zero among them."""

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(0.0))
        self.register_buffer("high", torch.tensor(0.0))

    def forward(self, values: Tensor) -> Tensor:
        """Return float32 of the same shape; in training the range follows what comes in."""
        if self.training:
            low, high = torch.aminmax(values.detach())
            known = bool(self.high > self.low)
            self.low.lerp_(low.clamp(max=0.0), FOLLOWING if known else 1.0)
            self.high.lerp_(high.clamp(min=0.0), FOLLOWING if known else 1.0)
        scale = max((float(self.high) - float(self.low)) / LEVELS, 1e-8)
        return torch.fake_quantize_per_tensor_affine(values, scale, round(-float(self.low) / scale), 0, LEVELS)


def rounded_weight(weight: Tensor) -> Tensor:
    """Round a kernel float32 (outputs, ...), each output channel with a scale of its own."""
    scales = weight.detach().flatten(1).abs().amax(1).clamp_min(1e-8) / WEIGHT_LIMIT
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    rounded: Tensor = torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT)
    return rounded


@contextmanager
def rounding(net: nn.Module, sums: tuple[type[nn.Module], ...]) -> Iterator[nn.ModuleList]:
    """Round inside the context: around every convolution, and around modules of the types `sums`, which add.

    Yields the ranges, to be switched between training and evaluation with the network. Parameters and their names stay
    what they are; the convolutions only compute with rounded copies.
    """
    wrapped = [module for module in net.modules() if isinstance(module, (nn.Conv2d, *sums))]
    ranges = nn.ModuleList()
    for module in wrapped:
        before, after = Rounded(), Rounded()
        ranges.extend([before, after])
        module.forward = _rounded_forward(module, before, after)
    try:
        yield ranges
    finally:
        for module in wrapped:
            del module.forward  # the class' own comes to light again


def _rounded_forward(module: nn.Module, before: Rounded, after: Rounded) -> Callable[..., Tensor]:
    """Return a forward that rounds the module's first input and its output; a further input is a bias for channels."""
    plain = module.forward

    def forward(features: Tensor, *bias: Tensor) -> Tensor:
        rounded = before(features)
        if isinstance(module, nn.Conv2d):
            weight = rounded_weight(module.weight)
            given = functional.conv2d(rounded, weight, module.bias, module.stride, module.padding)
        else:
            given = plain(rounded, *bias)
        result: Tensor = after(given)
        return result

    return forward
