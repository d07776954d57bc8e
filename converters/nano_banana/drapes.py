"""Striped cloth with folds, as flags and curtains hang behind people: drawn, as few photographs show it."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_FOLDS: Final = 6


def drapes(count: int, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return colours (count, 3, side, side) and cover (count, 1, side, side), float32 in 0..1.

    Each covers one side of the picture, up to an edge that is nearly upright.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *(shape or (1, 1)), generator=generator)

    axis = torch.linspace(-1, 1, side)
    x, y = axis[None, None, :].expand(count, side, side), axis[None, :, None].expand(count, side, side)
    folds = torch.rand(count, 1, _FOLDS, _FOLDS, generator=generator)
    folds = functional.interpolate(folds, (side, side), mode="bicubic", align_corners=False)[:, 0]
    angle = uniform(0, math.pi)
    waves = (x * angle.cos() + y * angle.sin()) * uniform(4, 30) + folds * uniform(0, 6) + uniform(0, 2 * math.pi)
    stripes = torch.sigmoid(torch.sin(waves) * 12 + uniform(-6, 6))[:, None]
    first, second = uniform(0, 1, 3, 1, 1), uniform(0, 1, 3, 1, 1)
    colours = (first + (second - first) * stripes) * (1 - uniform(0, 0.7, 1, 1, 1) * folds[:, None]).clamp(0, 1)
    towards = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    reach = towards * x + uniform(-0.5, 0.5) * y + 0.3 * (folds - 0.5) - uniform(0, 0.8)
    return colours.clamp(0, 1), torch.sigmoid(reach * uniform(30, 90))[:, None]
