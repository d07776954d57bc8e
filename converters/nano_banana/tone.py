"""Tone adjustments as one table per channel: differentiable, evaluated on 256 values instead of on the photo."""

from __future__ import annotations

import torch
from torch import Tensor

from converters.nano_banana.constants import HIGHLIGHT_GAIN, LUMA, SHADOW_GAIN
from converters.nano_banana.vocabulary import indices

_BELL = 27.0 / 4.0
"""Scales v*(1-v)^2 to a peak of 1."""


def tone_tables(amounts: Tensor) -> Tensor:
    """amounts float32 (R, A) -> tables float32 (R, 3, 256): 8-bit code in, encoded value 0..1 out."""

    def amount(name: str) -> Tensor:
        return amounts[:, indices()[name]].reshape(-1, 1, 1)

    codes = torch.arange(256, dtype=amounts.dtype, device=amounts.device).reshape(1, 1, 256) / 255.0
    linear = (to_linear(codes) * channel_gains(amount("warmth"), amount("tint"))).clamp(0.0, 1.0)
    value = to_encoded(expose(linear, amount("exposure")))
    value = value.clamp_min(1e-6) ** torch.exp2(-amount("midtones"))
    value = contrast(value, amount("contrast"))
    value = value + _bell(amount("shadows"), SHADOW_GAIN) * value * (1.0 - value).square()
    value = value + _bell(amount("highlights"), HIGHLIGHT_GAIN) * value.square() * (1.0 - value)
    value = value + 0.15 * amount("whites") * value**4
    value = value + 0.15 * amount("blacks") * (1.0 - value) ** 4
    return solarize(value.clamp(0.0, 1.0), amount("solarize"))


def lookup(codes: Tensor, tables: Tensor) -> Tensor:
    """codes (1 or R, 3, h, w), whole numbers 0..255 of any type, tables (R, 3, 256) -> (R, 3, h, w)."""
    offsets = torch.arange(3, dtype=codes.dtype, device=codes.device).reshape(1, 3, 1, 1) * 256
    flat = (codes + offsets).flatten(1).to(torch.int64)
    # gather, not index_select: ONNX Runtime runs GatherElements four times as fast as Gather here
    values = torch.gather(tables.flatten(1), 1, flat.expand(tables.shape[0], -1))
    return values.reshape(tables.shape[0], 3, codes.shape[2], codes.shape[3])


def channel_gains(warmth: Tensor, tint: Tensor) -> Tensor:
    """Gains of red, green and blue in linear light, (R, 3, 1); a grey pixel keeps its luminance."""
    warm = torch.exp2(warmth * warmth.new_tensor([0.5, 0.0, -0.5]).reshape(1, 3, 1))
    pink = torch.exp2(tint * tint.new_tensor([0.175, -0.35, 0.175]).reshape(1, 3, 1))
    luma = warmth.new_tensor(LUMA).reshape(1, 3, 1)
    return warm / (warm * luma).sum(1, keepdim=True) * pink / (pink * luma).sum(1, keepdim=True)


def expose(linear: Tensor, amount: Tensor) -> Tensor:
    """Multiply by 2^(2a); upwards with a shoulder that maps 1 to 1."""
    gain = torch.exp2(2.0 * amount)
    return gain * linear / (1.0 + (gain - 1.0).clamp_min(0.0) * linear)


def contrast(value: Tensor, amount: Tensor) -> Tensor:
    """Power S-curve around mid-grey upwards, straight line downwards."""
    power = torch.exp2(amount.clamp_min(0.0))
    low = 0.5 * (2.0 * value.clamp(1e-6, 0.5)) ** power
    high = 1.0 - 0.5 * (2.0 * (1.0 - value).clamp(1e-6, 0.5)) ** power
    curve = torch.where(value < 0.5, low, high)
    flat = 0.5 + (value - 0.5) * (1.0 + 0.6 * amount)
    return torch.where(amount > 0, curve, flat)


def solarize(value: Tensor, amount: Tensor) -> Tensor:
    """Mix with a tent: tones above the middle are inverted."""
    return value - amount * (2.0 * value - 1.0).clamp_min(0.0)


def to_linear(value: Tensor) -> Tensor:
    """sRGB decoding (IEC 61966-2-1)."""
    return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def to_encoded(linear: Tensor) -> Tensor:
    """sRGB encoding (IEC 61966-2-1)."""
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-8) ** (1.0 / 2.4) - 0.055)


def _bell(amount: Tensor, gains: tuple[float, float]) -> Tensor:
    return _BELL * torch.where(amount > 0, gains[0] * amount, gains[1] * amount)
