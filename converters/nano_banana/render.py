"""The white-box half of nano-banana: `Context` and `Render`, without weights, differentiable, in plain tensor ops.

A photo goes through fixed stages: tone (one curve per channel), detail (local contrast, blur ...), colour (one
matrix), effects, regions. What makes this fast on a small processor: every tone adjustment is a function of one
8-bit channel, so all of them together are one 256-entry table; every linear colour adjustment is part of one
matrix; every large blur is done on a reduced copy (`Context`) and folded into one affine map per pixel,
y = P*(x + k*luma(x)) + Q, whose P and Q are small images that `Render` enlarges. So the cost hardly depends on how
many adjustments a plan has, and big photos can be rendered strip by strip. What few plans need and every pixel would
pay for is left to a second export of the same class, `Render(full=True)`.

Region rows: R = 1 for a plan on the whole photo, R = 2 (what the mask shows, the rest) otherwise. What each adjustment
means is written down once more, straightforwardly and in float64, in `definitions.py`; tests compare the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from converters.nano_banana.blurs import smooth
from converters.nano_banana.color import colored, luma_of, transformed
from converters.nano_banana.constants import GRAIN_TILE, HUE_RANGES, LUMA
from converters.nano_banana.context import Context as Context
from converters.nano_banana.context import local_gain, region_weights, row_numbers
from converters.nano_banana.grid import Grid
from converters.nano_banana.guided_filter import apply_matte
from converters.nano_banana.mixing import Amounts, with_looks, with_mixes
from converters.nano_banana.tone import tone_tables

HALO_ROWS = 4
"""Rows beyond a strip that sharpening looks at."""

FULL_ADJUSTMENTS = with_looks(("sharpen", "posterize", "grain", *HUE_RANGES))
"""Adjustments that only `Render(full=True)` carries out, and the looks with one of them."""

CUTTING_ADJUSTMENTS = ("remove", "fill", "blur")
"""With two region rows these show the edge of the region before another ground: `Render(full=True)` takes the old
ground's colour out of it. `Render()` carries them out without that."""


class Render(nn.Module):
    """Photo (or a strip of it) and plan in, photo out, at full resolution.

    image uint8 (1, h, w, 4) RGBA; layers float32 (R, 4, lh, lw) and matte float32 (1, 4, lh, lw) for the same
    pixels, enlarged here; amounts float32 (R, A); color float32 (R, 3), 0..1, of `fill`; window float32 (4,): row
    and column of the strip's first pixel, height and width of the whole photo; with full=True also colors float32
    (1, 6, lh, lw) -> uint8 (1, h, w, 4).
    """

    noise: Tensor

    def __init__(self, *, full: bool = False) -> None:
        super().__init__()
        self.full = full
        if full:
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(GRAIN_TILE, GRAIN_TILE, generator=generator)
            self.register_buffer("noise", noise, persistent=False)

    def forward(
        self,
        image: Tensor,
        layers: Tensor,
        matte: Tensor,
        colors: Tensor | None,
        amounts: Tensor,
        color: Tensor,
        window: Tensor | None = None,
    ) -> Tensor:
        """Return the edited picture, straight alpha. Without `full` there are no colors: the rest moves up a place."""
        if window is None:  # an exported graph has no optional inputs, and its inputs follow this order
            assert colors is not None
            window, color, amounts, colors = color, amounts, colors, None
        amounts = with_mixes(amounts)
        grid = self.grid(window)
        # all planes become floats at once: ORT moves a slice of bytes before the transposition, where it is slow
        planes = image.permute(0, 3, 1, 2).to(torch.float32)
        photo = codes = planes[:, :3]
        # everything that is small is prepared before it is enlarged
        slope, offset = grid.stretched(matte[:, :3] / 255.0, photo), grid.stretched(matte[:, 3:], photo)
        mask = apply_matte(photo, slope, offset)
        if colors is not None:
            codes = _cleaned(photo, mask, grid.stretched(colors * 255.0, photo), amounts)
        rgb = self._detailed(grid.lookup(codes, tone_tables(amounts)), layers, amounts, grid)
        rgb = colored(rgb, amounts, hue_ranges=self.full)
        rgb = (_posterized(rgb, amounts) if self.full else rgb).clamp(0.0, 1.0)
        share = region_weights(mask, amounts) * (1.0 - Amounts(amounts)("remove"))
        opacity = summed_rows(share)
        return _joined(self._finished(rgb, share, opacity, amounts, color, window), opacity, planes[:, 3:])

    def grid(self, window: Tensor) -> Grid:
        """Return what knows where the strip's pixels are."""
        return Grid()

    def _detailed(self, toned: Tensor, layers: Tensor, amounts: Tensor, grid: Grid) -> Tensor:
        """Sharpen the luma at full resolution, then the affine map from `Context`; clipped."""
        lifted = transformed(_lift_matrix(amounts), toned)
        if self.full:
            luma = luma_of(toned)
            strength = 1.5 * Amounts(amounts)("sharpen") * (1.0 + local_gain(amounts))
            lifted = lifted + strength * (luma - smooth(luma))
        scale, shift = grid.stretched(layers[:, :1], toned), grid.stretched(layers[:, 1:], toned)
        return (lifted * scale + shift).clamp(0.0, 1.0)

    def _finished(
        self, rgb: Tensor, share: Tensor, opacity: Tensor, amounts: Tensor, color: Tensor, window: Tensor
    ) -> Tensor:
        """Vignette, grain and fill of rgb (R, 3, h, w), region rows summed: (1, 3, h, w), 0..255 and 0.5 for rounding.

        Only the planes of weights take part in most products: they are a third of the pixels.
        """
        amount = Amounts(amounts)
        vignette, fill = amount("vignette"), amount("fill")
        grid = self.grid(window)
        rows, columns = grid.positions(rgb, 2) + window[0], grid.positions(rgb, 3) + window[1]
        edge = vignette_shape(rows, columns, window) * (0.75 * vignette.abs())
        added = edge * (vignette < 0).to(rgb.dtype)
        if self.full:
            added = added + 0.12 * amount("grain") * self._grain(rows, columns, window)
        plain = share * (1.0 - fill)
        pixels = summed_rows(rgb * (plain * (1.0 - edge)))
        # light and grain are the same in all channels; so is half a code for rounding, divided by opacity below
        opacity = opacity.clamp_min(1e-4)
        grey = summed_rows(plain * added) + (0.5 / 255.0) * opacity
        filled = (share * fill).transpose(0, 1)
        weights = torch.cat([color.transpose(0, 1), color.new_ones(3, 1)], 1).unsqueeze(0)
        return (pixels + transformed(weights, torch.cat([filled, grey], 1))) * (255.0 / opacity)

    def _grain(self, rows: Tensor, columns: Tensor, window: Tensor) -> Tensor:
        """Noise of the grain's own size: one grain per pixel up to 1200 px, larger grains in larger photos."""
        size = torch.round(torch.maximum(window[2], window[3]) / 1200.0).clamp_min(1.0)
        row = torch.floor(rows / size).to(torch.int64) % GRAIN_TILE
        column = torch.floor(columns / size).to(torch.int64) % GRAIN_TILE
        return self.grid(window).taken(self.noise, row, column)


def summed_rows(planes: Tensor) -> Tensor:
    """Sum over region rows: (R, C, h, w) -> (1, C, h, w). A matrix product, five times faster than a sum in ORT."""
    rows, channels, height, width = planes.shape
    total = torch.matmul(planes.new_ones(1, rows), planes.reshape(rows, -1))
    return total.reshape(1, channels, height, width)


def vignette_shape(rows: Tensor, columns: Tensor, window: Tensor) -> Tensor:
    """0 in the middle, 1 in the corners, smooth: (h, w)."""
    vertical = (2.0 * (rows + 0.5) / window[2] - 1.0).square().reshape(-1, 1)
    horizontal = (2.0 * (columns + 0.5) / window[3] - 1.0).square().reshape(1, -1)
    radius = (((vertical + horizontal) / 2.0 - 0.1) / 0.9).clamp(0.0, 1.0)
    return radius * radius * (3.0 - 2.0 * radius)


def _lift_matrix(amounts: Tensor) -> Tensor:
    """Before the affine map: `sketch` makes grey, local contrast adds luma. (R, 3, 3)."""
    sketch = Amounts(amounts, (-1, 1, 1))("sketch")
    identity = torch.eye(3, device=amounts.device)
    grey = amounts.new_tensor(LUMA).reshape(1, 1, 3).expand(1, 3, 3)
    return (1.0 - sketch) * identity + (sketch + local_gain(amounts).reshape(-1, 1, 1)) * grey


def _cleaned(photo: Tensor, mask: Tensor, colors: Tensor, amounts: Tensor) -> Tensor:
    """Take the background's share out of the pixels of row 0 where a plan puts another ground behind them.

    photo (1, 3, h, w) 0..255, mask (1, 1, h, w), colors (1, 6, h, w) -> whole codes (R, 3, h, w). With means F and B of
    the colours nearby, the foreground of a mixed pixel I is F + m (I - m F - (1 - m) B): Forte (2021), equation 4.
    """
    amount = Amounts(amounts)
    cut = (amount("remove") + amount("fill") + amount("blur") / 0.15).amax(0, keepdim=True).clamp(0.0, 1.0)
    rest = 1.0 - mask
    change = rest * ((1.0 + mask) * colors[:, :3] - mask * colors[:, 3:] - photo)
    row = row_numbers(amounts)
    return (photo + (1.0 - row) * (cut * change) + 0.5).clamp(0.0, 255.0).floor()


def _posterized(rgb: Tensor, amounts: Tensor) -> Tensor:
    """Round to few levels; not clipped. Without posterize the levels are too many to see."""
    posterize = Amounts(amounts)("posterize")
    steps = torch.where(posterize > 0, torch.floor(15.0 - 13.0 * posterize), 4096.0)
    return torch.round(rgb * steps) * (1.0 / steps)


def _joined(rgb: Tensor, opacity: Tensor, alpha: Tensor) -> Tensor:
    """rgb (1, 3, h, w) 0..255 plus 0.5, opacity (1, 1, h, w) 0..1, alpha 0..255 -> uint8 (1, h, w, 4)."""
    visible = opacity * alpha + 0.5
    return torch.cat([to_bytes(rgb), to_bytes(visible)], 1).permute(0, 2, 3, 1)


def to_bytes(values: Tensor) -> Tensor:
    """Cut 0..255 off to uint8; 0.5 was added before."""
    return values.clamp(0.0, 255.0).to(torch.uint8)
