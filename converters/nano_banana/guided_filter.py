"""The guided filter (He et al., Guided Image Filtering, 2010): a soft mask that follows the photo's edges."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from converters.nano_banana.constants import EDGE_REACH, GUIDE_EPSILON, GUIDE_RADIUS
from converters.nano_banana.grid import Grid


def guided_coefficients(guide: Tensor, mask: Tensor, grid: Grid) -> Tensor:
    """Colour guided filter: guide (1, 3, h, w), mask (1, 1, h, w) -> a and b of mask = a . rgb + b, (1, 4, h, w)."""
    r, g, b = guide[:, :1], guide[:, 1:2], guide[:, 2:]
    means = box_mean(torch.cat([guide, mask, r * r, r * g, r * b, g * g, g * b, b * b, guide * mask], 1))
    mr, mg, mb, mm = (means[:, i : i + 1] for i in range(4))
    first = (mr * mr, mr * mg, mr * mb, mg * mg, mg * mb, mb * mb)
    rr, rg, rb, gg, gb, bb = (means[:, 4 + i : 5 + i] - square for i, square in enumerate(first))
    rr, gg, bb = rr + GUIDE_EPSILON, gg + GUIDE_EPSILON, bb + GUIDE_EPSILON
    cr, cg, cb = means[:, 10:11] - mr * mm, means[:, 11:12] - mg * mm, means[:, 12:13] - mb * mm
    # inverse of the symmetric covariance by cofactors: three channels don't need a solver
    i00, i01, i02 = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    i11, i12, i22 = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = rr * i00 + rg * i01 + rb * i02
    ar = (i00 * cr + i01 * cg + i02 * cb) / determinant
    ag = (i01 * cr + i11 * cg + i12 * cb) / determinant
    ab = (i02 * cr + i12 * cg + i22 * cb) / determinant
    return box_mean(grid.settled(torch.cat([ar, ag, ab, mm - ar * mr - ag * mg - ab * mb], 1)))


def stretched(matte: Tensor) -> Tensor:
    """Stretch a and b a little, so that safe subject becomes 1 and safe background 0 after clipping."""
    return (matte - matte.new_tensor([0.0, 0.0, 0.0, 0.06]).reshape(1, 4, 1, 1)) / 0.88


def near_edges(matte: Tensor, mask: Tensor, grid: Grid) -> Tensor:
    """Keep a and b (1, 4, h, w) within EDGE_REACH pixels of the edges of the mask (1, 1, h, w); beyond, it is itself.

    A window that touches an edge explains the mask by colours, and colours of the ground that look like the subject
    get some opacity all over it: wisps beside people in a street.
    """
    side = 2 * EDGE_REACH + 1
    both = torch.cat([mask, 1.0 - mask], 1)
    highest = functional.max_pool2d(both, side, 1, EDGE_REACH)
    mixed = grid.settled(highest[:, :1] + highest[:, 1:] - 1.0)
    padded = functional.pad(mixed, (1, 1, 1, 1), mode="replicate")
    share = functional.conv2d(padded, padded.new_full((1, 1, 3, 3), 1.0 / 9.0))
    plain = functional.pad(mask, (0, 0, 0, 0, 3, 0))
    return plain + share * (matte - plain)


def apply_matte(rgb: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """rgb and slope (1, 3, h, w), offset (1, 1, h, w) -> mask (1, 1, h, w) in 0..1."""
    product = rgb * slope
    # a matrix product with ones: a sum over channels is ten times slower in ORT
    total = torch.matmul(product.new_ones(1, 1, 3), product.flatten(2)).reshape(offset.shape)
    return (total + offset).clamp(0.0, 1.0)


def box_mean(values: Tensor) -> Tensor:
    """Mean over a square window of (1, C, h, w); the border repeats itself.

    A depthwise convolution with ones: average pooling is twelve times slower in ORT. Channels are filled up to a
    multiple of 8, for which its blocked kernels exist.
    """
    channels, size = values.shape[1], 2 * GUIDE_RADIUS + 1
    filled = -(-channels // 8) * 8
    padded = functional.pad(values, (GUIDE_RADIUS,) * 4, mode="replicate")
    padded = functional.pad(padded, (0, 0, 0, 0, 0, filled - channels))
    column = values.new_full((filled, 1, size, 1), 1.0 / size)
    row = values.new_full((filled, 1, 1, size), 1.0 / size)
    mean = functional.conv2d(functional.conv2d(padded, column, groups=filled), row, groups=filled)
    return mean[:, :channels]
