"""Gaussian blurs of whole pictures as matrix products, and the small blur of sharpening."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from converters.nano_banana.grid import Grid


def masked_blur(values: Tensor, weights: Tensor, sigma: Tensor, grid: Grid) -> Tensor:
    """Gaussian blur that takes colour from where the weights are only: G(values*weights) / G(weights).

    values (1 or R, C, h, w), weights (R, 1, h, w), sigma (R, 1, 1, 1) in pixels -> (R, C, h, w). Two matrix products
    per channel: the width of the kernel may then depend on the plan, and the edges need no padding.
    """
    height, width = grid.positions(values, 2), grid.positions(values, 3)
    vertical = gaussian_matrix(height, height, sigma)
    horizontal = gaussian_matrix(width, width, sigma)
    return _blurred(values, grid.inside(weights), vertical, horizontal)


def coarse_masked_blur(values: Tensor, weights: Tensor, sigma: Tensor, grid: Grid) -> Tensor:
    """`masked_blur` for sigmas of 4 pixels and more: the result is computed on half the size and enlarged."""
    height, width = grid.positions(values, 2), grid.positions(values, 3)
    vertical = gaussian_matrix(grid.coarse_positions(height, 2), height, sigma)
    horizontal = gaussian_matrix(grid.coarse_positions(width, 3), width, sigma)
    return grid.raised(_blurred(values, grid.inside(weights), vertical, horizontal), values)


def gaussian_matrix(targets: Tensor, sources: Tensor, sigma: Tensor) -> Tensor:
    """targets (m,), sources (n,) positions; sigma (R, 1, 1, 1) -> (R, 1, m, n), rows sum to 1."""
    distance = targets.reshape(1, 1, -1, 1) - sources.reshape(1, 1, 1, -1)
    kernel = torch.exp(-0.5 * (distance / sigma).square())
    return kernel / kernel.sum(3, keepdim=True)


def smooth(plane: Tensor) -> Tensor:
    """Two 3x3 box means of (R, 1, h, w), a Gaussian of about 1.15 pixels; the border repeats itself."""
    kernel = plane.new_full((1, 1, 3, 3), 1.0 / 9.0)
    padded = functional.pad(plane, (2, 2, 2, 2), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel), kernel)


def _blurred(values: Tensor, weights: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    planes = torch.cat([values * weights, weights], 1)
    blurred = torch.matmul(torch.matmul(vertical, planes), horizontal.transpose(2, 3))
    return blurred[:, :-1] / blurred[:, -1:]
