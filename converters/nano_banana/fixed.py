"""`Context` and `Render` for formats whose graphs have one fixed shape: what shapes say otherwise, they are told."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from converters.nano_banana.context import Context
from converters.nano_banana.grid import Grid, PaddedGrid, TileGrid
from converters.nano_banana.render import Render


class FixedContext(nn.Module):
    """`Context` for a photo that fills the upper left part of its tensor, whose last row and column repeat beyond.

    Inputs are those of `Context`, then the photo's real height and width, float32 (1,). Outputs hold beyond it what
    is at its edge.
    """

    def __init__(self, *, full: bool = False) -> None:
        super().__init__()
        self.context = Context(full=full)

    def forward(
        self, photo: Tensor, mask: Tensor, amounts: Tensor, height: Tensor, width: Tensor
    ) -> tuple[Tensor, ...]:
        """Return (layers, matte) or (layers, matte, colors)."""
        return self.context.on_grid(photo, mask, amounts, PaddedGrid(height, width))


class FixedRender(Render):
    """`Render` for a tile whose first pixel is the first of a cell of `Context`'s layers.

    The layers' first cell is the tile's; they may reach beyond it. `context_pixels` is the longest side of the photo's
    reduced copy: it tells, with the photo's size in `window`, how many pixels a cell has.
    """

    def __init__(self, *, full: bool = False, context_pixels: int) -> None:
        super().__init__(full=full)
        self.context_pixels = context_pixels

    def grid(self, window: Tensor) -> Grid:
        """See Render."""
        longest = torch.maximum(window[2], window[3])
        return TileGrid(torch.ceil(longest / self.context_pixels).clamp_min(1.0))
