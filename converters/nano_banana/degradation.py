"""What cameras, light and files do to photographs, for whole batches of float32 (batch, 3, height, width) in 0..1."""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK: Final = 8
_SHARE_OF_TRUE_COLOURS: Final = 0.4


def jitter_colour(photos: Tensor, generator: torch.Generator) -> Tensor:
    """Give most pictures another exposure, white balance, saturation and contrast; returns 0..1.

    The rest keep their colours, by which skin is told from clothes.
    """
    count = len(photos)
    kept = torch.rand(count, 1, 1, 1, generator=generator) < _SHARE_OF_TRUE_COLOURS

    def spread(scale: float, channels: int = 1) -> Tensor:
        return torch.exp(scale * torch.randn(count, channels, 1, 1, generator=generator))

    grey = photos.mean(1, keepdim=True)
    saturation = 1.6 * torch.rand(count, 1, 1, 1, generator=generator) ** 0.7
    coloured = grey + (photos - grey) * saturation
    bright = (coloured - 0.45) * spread(0.2) + 0.45 + 0.06 * torch.randn(count, 1, 1, 1, generator=generator)
    return torch.where(kept, photos, bright * spread(0.08, 3) * spread(0.15)).clamp(0, 1)


def degrade(photos: Tensor, generator: torch.Generator) -> Tensor:
    """Apply night, grey, blur, noise and JPEG blocks, each on its share of the batch."""
    chance = torch.rand(len(photos), 5, generator=generator)
    steps = ((_darken, 0.12), (_grey, 0.06), (_blur, 0.15), (_noise, 0.2), (_jpeg, 0.2))
    for column, (step, share) in enumerate(steps):
        where = chance[:, column] < share
        if where.any():
            photos[where] = step(photos[where], generator)
    return photos.clamp(0, 1)


def _darken(photos: Tensor, generator: torch.Generator) -> Tensor:
    gamma = 1.2 + 1.2 * torch.rand(len(photos), 1, 1, 1, generator=generator)
    gain = 0.25 + 0.6 * torch.rand(len(photos), 1, 1, 1, generator=generator)
    return gain * photos.clamp_min(1e-3) ** gamma


def _grey(photos: Tensor, generator: torch.Generator) -> Tensor:
    tint = 1 + 0.05 * torch.randn(len(photos), 3, 1, 1, generator=generator)
    return photos.mean(1, keepdim=True) * tint


def _blur(photos: Tensor, generator: torch.Generator) -> Tensor:
    """Bring the whole group down by one random factor and back."""
    side = photos.shape[3]
    coarse = int(side / (1.2 + 2 * float(torch.rand(1, generator=generator))))
    small = functional.interpolate(photos, (coarse, coarse), mode="area")
    return functional.interpolate(small, (side, side), mode="bilinear", align_corners=False)


def _noise(photos: Tensor, generator: torch.Generator) -> Tensor:
    sigma = 0.07 * torch.rand(len(photos), 1, 1, 1, generator=generator)
    return photos + sigma * torch.randn(photos.shape, generator=generator)


def _jpeg(photos: Tensor, generator: torch.Generator) -> Tensor:
    """Round the cosine coefficients of 8x8 blocks to steps that grow with frequency."""
    count, channels, height, width = photos.shape
    basis, steps = _cosines()
    strength = 0.01 + 0.05 * torch.rand(count, 1, 1, 1, 1, 1, generator=generator)
    blocks = photos.reshape(count, channels, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).transpose(3, 4)
    table = steps * strength
    rounded = torch.round((basis @ blocks @ basis.T) / table) * table
    return (basis.T @ rounded @ basis).transpose(3, 4).reshape(photos.shape)


@cache
def _cosines() -> tuple[Tensor, Tensor]:
    """Return the orthonormal DCT matrix and relative quantisation steps, both (8, 8)."""
    place = torch.arange(_BLOCK, dtype=torch.float32)
    basis = torch.cos(math.pi * (place + 0.5) * place[:, None] / _BLOCK) * math.sqrt(2 / _BLOCK)
    basis[0] /= math.sqrt(2)
    return basis, 1 + place + place[:, None]
