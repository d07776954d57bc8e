"""`Fill`: what is marked in a picture is replaced by colours from around it. No weights, differentiable.

A pyramid of means over what is known goes down until every place knows something, and comes back up, finer where
something finer is known (push-pull, Gortler et al., The Lumigraph, 1996); a few rounds of smoothing inside the hole
take the squares away. Good for small things on calm ground; it makes up no texture.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS: Final = 4
"""Halvings; sides are multiples of 2^LEVELS."""

ROUNDS: Final = 12
_LEAST: Final = 1e-3


class Fill(nn.Module):
    """image uint8 (1, h, w, 4), mask float32 (1, 1, h, w), 1 = unknown -> uint8 (1, h, w, 4); the rest is copied."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the picture with its holes filled; sides are multiples of 16."""
        photo = image[..., :3].permute(0, 3, 1, 2).to(torch.float32)
        filled = smoothed(filled_holes(photo, mask), photo, mask)
        pixels = torch.floor(filled + 0.5).clamp(0.0, 255.0).to(torch.uint8).permute(0, 2, 3, 1)
        return torch.cat([pixels, image[..., 3:]], 3)


def filled_holes(photo: Tensor, mask: Tensor) -> Tensor:
    """photo float32 (1, 3, h, w), mask (1, 1, h, w) -> the photo where it is known, means from around elsewhere."""
    known = 1.0 - mask
    levels = [torch.cat([photo * known, known], 1)]
    for _ in range(LEVELS):
        levels.append(halved(levels[-1]))
    coarsest = levels[-1].sum((2, 3), keepdim=True)
    result = coarsest[:, :3] / coarsest[:, 3:].clamp_min(_LEAST) + 0.0 * levels[-1][:, :3]
    for level in reversed(range(LEVELS + 1)):
        if level < LEVELS:
            result = functional.interpolate(result, scale_factor=2.0, mode="bilinear", align_corners=False)
        values, share = levels[level][:, :3], levels[level][:, 3:]
        # a cell that knows a quarter of itself is trusted in full; below, the coarser level shines through
        trust = share if level == 0 else (4.0 * share).clamp(0.0, 1.0)
        result = result + (values / share.clamp_min(_LEAST) - result) * trust
    return result


def smoothed(filled: Tensor, photo: Tensor, mask: Tensor) -> Tensor:
    """Average each unknown pixel with its neighbours, many times: the colours inside come from the rim."""
    kernel = filled.new_tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]).reshape(1, 1, 3, 3) / 16.0
    kernel = kernel.expand(3, 1, 3, 3)
    for _ in range(ROUNDS):
        mean = functional.conv2d(functional.pad(filled, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
        filled = photo + (mean - photo) * mask
    return filled


def halved(planes: Tensor) -> Tensor:
    """Mean of each 2x2 square of (1, C, h, w); h and w are even."""
    kernel = planes.new_full((planes.shape[1], 1, 2, 2), 0.25)
    return functional.conv2d(planes, kernel, stride=2, groups=planes.shape[1])
