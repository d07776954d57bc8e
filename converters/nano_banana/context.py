"""`Context`: all that must look at the whole photo, computed on a reduced copy. No weights, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from converters.nano_banana.blurs import coarse_masked_blur, masked_blur
from converters.nano_banana.color import luma_of
from converters.nano_banana.constants import (
    BLUR_SHARE,
    COLORS_SHARE,
    FINE_SHARE,
    HDR_COMPRESSION,
    HDR_LOCAL,
    MASK_GAIN,
    SKETCH_FLOOR,
    SKETCH_SHARE,
    SKETCH_STRENGTH,
    SKIN_CONTRAST,
    SKIN_EVENING,
    TILT_BAND,
    TILT_REACH,
    TILT_SHARE,
    WIDE_SHARE,
)
from converters.nano_banana.grid import Grid
from converters.nano_banana.guided_filter import apply_matte, guided_coefficients, near_edges, stretched
from converters.nano_banana.mixing import Amounts, with_looks, with_mixes
from converters.nano_banana.tone import tone_tables

LOCAL_ADJUSTMENTS = with_looks(
    ("clarity", "dehaze", "blur", "glow", "hdr", "tilt_shift", "skin_smooth", "sketch")
)
"""Adjustments that look at more than a pixel's neighbours, and the looks with one of them: they need `Context`."""


class Context(nn.Module):
    """What must look at the whole photo, computed on a copy of about 256 px.

    photo uint8 (1, h, w, 3); mask float32 (1, 1, H, W), 1 = the region of row 0, all ones for R = 1; amounts float32
    (R, A) -> layers float32 (R, 4, h, w): P and the three Q of y = P*(x + k*luma(x)) + Q; matte float32 (1, 4, h, w):
    coefficients with which mask = a . rgb + b follows the photo's edges.

    full=True also returns colors float32 (1, 6, h, w): what colour the region of row 0 (first three planes) and the
    rest have nearby, of the photo as it came.
    """

    def __init__(self, *, full: bool = False) -> None:
        super().__init__()
        self.full = full

    def forward(self, photo: Tensor, mask: Tensor, amounts: Tensor) -> tuple[Tensor, ...]:
        """Return (layers, matte) or (layers, matte, colors)."""
        return self.on_grid(photo, mask, amounts, Grid())

    def on_grid(self, photo: Tensor, mask: Tensor, amounts: Tensor, grid: Grid) -> tuple[Tensor, ...]:
        """Return the same for a photo whose size the grid knows."""
        amounts = with_mixes(amounts)
        codes = photo.permute(0, 3, 1, 2).to(torch.float32)
        guide = codes / 255.0
        soft = grid.stretched(mask, guide)
        # decided places become fully opaque or transparent; what lies between is left to the photo's edges
        decided = ((soft - 0.5) * MASK_GAIN + 0.5).clamp(0.0, 1.0)
        matte = near_edges(stretched(guided_coefficients(guide, decided, grid)), decided, grid)
        refined = apply_matte(guide, matte[:, :3], matte[:, 3:])
        toned = grid.lookup(codes, tone_tables(amounts))
        layers = _layers(toned, region_weights(refined, amounts), amounts, grid)
        return (layers, matte, _colors(guide, refined, grid)) if self.full else (layers, matte)


def region_weights(mask: Tensor, amounts: Tensor) -> Tensor:
    """mask (1, 1, h, w) -> (R, 1, h, w): the mask for row 0, its complement for row 1."""
    row = row_numbers(amounts)
    return mask * (1.0 - 2.0 * row) + row


def row_numbers(amounts: Tensor) -> Tensor:
    """amounts (R, A) -> 0 for the first region row and 1 for the second, (R, 1, 1, 1)."""
    return torch.cumsum(torch.ones_like(amounts[:, :1]), 0).reshape(-1, 1, 1, 1) - 1.0


def local_gain(amounts: Tensor) -> Tensor:
    """Gain k of local contrast, (R, 1, 1, 1)."""
    amount = Amounts(amounts)
    clarity = amount("clarity")
    return torch.where(clarity > 0, 0.8 * clarity, 0.6 * clarity) + HDR_LOCAL * amount("hdr")


def _layers(toned: Tensor, weights: Tensor, amounts: Tensor, grid: Grid) -> Tensor:
    """toned (R, 3, h, w), weights (R, 1, h, w), amounts (R, A) -> P and Q stacked, (R, 4, h, w)."""
    amount = Amounts(amounts)
    fine, wide, dark = _blurs(toned, weights + 0.01, amount, grid)
    focus = _Focus(toned, amount, grid)
    haze = (0.9 * amount("dehaze") * dark).clamp(0.0, 0.95)
    glow = 0.6 * amount("glow") * wide
    veil = 1.0 - luma_of(glow)
    wide_luma = luma_of(wide)
    blurred = focus.blurred * (fine + focus.far * (wide - fine))
    blotches = fine - wide
    uneven = SKIN_EVENING * amount("skin_smooth") * torch.exp(-(blotches / SKIN_CONTRAST).square())
    contrast = local_gain(amounts) * (luma_of(blurred) - wide_luma)
    local = blurred + (contrast - HDR_COMPRESSION * amount("hdr") * (wide_luma - 0.5)) - uneven * blotches
    scale = (1.0 - focus.blurred) * veil / (1.0 - haze)
    shift = (local - haze) / (1.0 - haze) * veil + glow
    return _sketched(torch.cat([scale, shift], 1), luma_of(fine), amount("sketch"))


def _blurs(toned: Tensor, weights: Tensor, amount: Amounts, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Fine blur (R, 3, h, w), wide blur (R, 3, h, w), wide blur of the darkest channel (R, 1, h, w)."""
    long_side = torch.maximum(grid.extent(toned, 2), grid.extent(toned, 3))
    widened = BLUR_SHARE * amount("blur") + TILT_SHARE * amount("tilt_shift") + SKETCH_SHARE * amount("sketch")
    fine = masked_blur(toned, weights, (FINE_SHARE + widened) * long_side, grid)
    dark = functional.max_pool2d(-toned.amin(dim=1, keepdim=True), 3, 1, 1).neg()
    planes = torch.cat([toned, dark], 1)
    wide = coarse_masked_blur(planes, weights, WIDE_SHARE * long_side.reshape(1, 1, 1, 1), grid)
    return fine, wide[:, :3], wide[:, 3:]


class _Focus:
    """How out of focus each row of pixels is, from `blur` and `tilt_shift`.

    `blurred`: share of the blurs in the result, (R, 1, h or 1, 1); `far`: share of the wide blur in it.
    """

    def __init__(self, toned: Tensor, amount: Amounts, grid: Grid) -> None:
        height = (2.0 * (grid.positions(toned, 2) + 0.5) / grid.extent(toned, 2) - 1.0).abs().reshape(1, 1, -1, 1)
        distance = ((height - TILT_BAND) / TILT_REACH).clamp(0.0, 1.0) * amount("tilt_shift")
        near = (distance / 0.2).clamp(0.0, 1.0)
        self.far = ((distance - 0.2) / 0.8).clamp_min(0.0)
        self.blurred = torch.maximum((amount("blur") / 0.15).clamp(0.0, 1.0), near)


def _sketched(layers: Tensor, blurred: Tensor, amount: Tensor) -> Tensor:
    """Mix the colour dodge into layers (R, 4, h, w): 1 + strength * ((Y+e)/(blurred+e) - 1) is affine in Y."""
    scale = SKETCH_STRENGTH / (blurred + SKETCH_FLOOR)
    shift = (1.0 - SKETCH_STRENGTH) + SKETCH_FLOOR * scale
    dodge = torch.cat([scale, shift, shift, shift], 1)
    return layers + amount * (dodge - layers)


def _colors(guide: Tensor, mask: Tensor, grid: Grid) -> Tensor:
    """guide (1, 3, h, w), mask (1, 1, h, w) -> mean colours of foreground and background nearby, (1, 6, h, w).

    Forte, Approximate Fast Foreground Colour Estimation (2021). Weights are the mask's fourth power: pixels that it is
    sure of tell more about a colour than mixed ones. Measured on composites: 10 % less error than with the mask itself.
    """
    long_side = torch.maximum(grid.extent(guide, 2), grid.extent(guide, 3)).reshape(1, 1, 1, 1)
    weights = torch.cat([mask, 1.0 - mask], 0).square().square() + 1e-3
    means = coarse_masked_blur(guide, weights, COLORS_SHARE * long_side, grid)
    return means.reshape(1, 6, means.shape[2], means.shape[3])
