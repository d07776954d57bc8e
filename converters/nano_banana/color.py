"""Colour adjustments: everything linear as one matrix, saturation by hue and chroma as one factor per pixel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from converters.nano_banana.constants import (
    CYANOTYPE_DARK,
    CYANOTYPE_LIGHT,
    HUE_RANGES,
    LUMA,
    SEPIA,
    SPLIT_HIGHLIGHTS,
    SPLIT_SHADOWS,
)
from converters.nano_banana.mixing import Amounts


def luma_of(rgb: Tensor) -> Tensor:
    """rgb (R, 3, h, w) -> (R, 1, h, w). A matrix product: a sum over channels is ten times slower in ORT."""
    return transformed(rgb.new_tensor(LUMA).reshape(1, 1, 3), rgb)


def transformed(matrix: Tensor, planes: Tensor) -> Tensor:
    """matrix (1 or R, m, n) times every pixel of planes (R, n, h, w) -> (R, m, h, w)."""
    product = torch.matmul(matrix, planes.flatten(2))
    return product.reshape(planes.shape[0], matrix.shape[1], planes.shape[2], planes.shape[3])


def colored(rgb: Tensor, amounts: Tensor, *, hue_ranges: bool) -> Tensor:
    """The colour stage of rgb (R, 3, h, w), amounts (R, A); not clipped.

    With Y the luma, q the saturation factor of vibrance and hue ranges, and split toning a polynomial of Y, the result
    is M (Y + q (rgb - Y) + s0 + s1 Y + s2 Y^2) + bias: linear in q rgb, q Y, Y, Y^2 and 1, so one matrix does it.
    """
    luma = luma_of(rgb)
    saturated = rgb * _saturation_factor(rgb, amounts, hue_ranges)
    features = torch.cat([saturated, luma, luma.square(), torch.ones_like(luma)], 1)
    return transformed(_feature_matrix(amounts), features)


def _saturation_factor(rgb: Tensor, amounts: Tensor, hue_ranges: bool) -> Tensor:
    """Return q, (R, 1, h, w): hue ranges first, then vibrance, which looks at what they made of the chroma."""
    red, green, blue = rgb[:, :1], rgb[:, 1:2], rgb[:, 2:]
    chroma = torch.maximum(torch.maximum(red, green), blue) - torch.minimum(torch.minimum(red, green), blue)
    vibrance = Amounts(amounts)("vibrance")
    if not hue_ranges:
        return (1.0 + vibrance) - vibrance * chroma
    factor = _hue_factor(rgb, amounts)
    return factor * ((1.0 + vibrance) - vibrance * factor * chroma)


def _hue_factor(rgb: Tensor, amounts: Tensor) -> Tensor:
    """1 + sum of a * w(hue), (R, 1, h, w); w = relu((cos d - cos W) / (1 - cos W))^2, d the distance from the centre.

    Cosines of hue come from the two axes across the grey axis, so that no angle is needed.
    """
    across = rgb.new_tensor([[1.0, -0.5, -0.5], [0.0, math.sqrt(0.75), -math.sqrt(0.75)]])
    centres = [math.radians(centre) for centre, _ in HUE_RANGES.values()]
    edges = rgb.new_tensor([math.cos(math.radians(width)) for _, width in HUE_RANGES.values()])
    directions = torch.matmul(rgb.new_tensor([[math.cos(c), math.sin(c)] for c in centres]), across)
    chroma = transformed(across.unsqueeze(0), rgb)
    length = transformed(rgb.new_ones(1, 1, 2), chroma.square())
    cosines = transformed((directions / (1.0 - edges).unsqueeze(1)).unsqueeze(0), rgb)
    weights = (cosines * torch.rsqrt(length + 1e-6) - (edges / (1.0 - edges)).reshape(1, -1, 1, 1)).clamp_min(0.0)
    strengths = torch.cat([Amounts(amounts, (-1, 1, 1))(name) for name in HUE_RANGES], 2)
    return (1.0 + transformed(strengths, weights.square())).clamp_min(0.0)


def _feature_matrix(amounts: Tensor) -> Tensor:
    """Matrix (R, 3, 6) over the features of `colored`."""
    matrix, bias = color_matrix(amounts)
    luma = amounts.new_tensor(LUMA).reshape(1, 1, 3)
    ones = amounts.new_ones(1, 3, 1)
    strength = 0.12 * Amounts(amounts, (-1, 1, 1))("teal_orange")
    bright = strength * amounts.new_tensor(SPLIT_HIGHLIGHTS).reshape(1, 3, 1)
    dark = strength * amounts.new_tensor(SPLIT_SHADOWS).reshape(1, 3, 1)
    # Y + q (rgb - Y): luma of the saturated pixel is q Y
    saturated = torch.eye(3, device=amounts.device) - ones * luma
    columns = [saturated.expand(amounts.shape[0], 3, 3), ones - 2.0 * dark, bright + dark, dark]
    features = torch.matmul(matrix, torch.cat(columns, 2))
    return torch.cat([features[:, :, :5], features[:, :, 5:] + bias], 2)


def color_matrix(amounts: Tensor) -> tuple[Tensor, Tensor]:
    """All linear adjustments in their order as one matrix (R, 3, 3) and bias (R, 3, 1)."""
    amount = Amounts(amounts, (-1, 1, 1))
    identity = torch.eye(3, device=amounts.device)
    grey = amounts.new_tensor(LUMA).reshape(1, 1, 3).expand(1, 3, 3)
    matrix = grey + (identity - grey) * (1.0 + amount("saturation"))
    matrix = torch.matmul(_hue_rotation(amount("hue") * torch.pi), matrix)
    matrix = torch.matmul(identity + amount("black_and_white") * (grey - identity), matrix)
    sepia = amounts.new_tensor(SEPIA).reshape(1, 3, 3)
    matrix = torch.matmul(identity + amount("sepia") * (sepia - identity), matrix)
    ink = amounts.new_tensor(CYANOTYPE_DARK).reshape(1, 3, 1)
    paper = amounts.new_tensor(CYANOTYPE_LIGHT).reshape(1, 3, 1)
    cyanotype = amount("cyanotype")
    matrix = torch.matmul(identity + cyanotype * ((paper - ink) * grey[:, :1] - identity), matrix)
    fade = amount("fade")
    paler = (grey + (identity - grey) * (1.0 - 0.3 * fade)) * (1.0 - 0.22 * fade)
    bias = torch.matmul(paler, cyanotype * ink) + 0.15 * fade
    invert = amount("invert")
    kept = 1.0 - 2.0 * invert
    return torch.matmul(paler, matrix) * kept, bias * kept + invert


def _hue_rotation(angle: Tensor) -> Tensor:
    """Rotation about the grey axis (Rodrigues): angle (R, 1, 1) in radians -> (R, 3, 3)."""
    cosine, sine = torch.cos(angle), torch.sin(angle)
    identity = torch.eye(3, device=angle.device)
    third = torch.full((3, 3), 1.0 / 3.0, device=angle.device)
    cross = angle.new_tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / 3.0**0.5
    rotation: Tensor = cosine * identity + (1.0 - cosine) * third + sine * cross
    return rotation
