"""Mending pixels with a restoration graph: tile by tile over any size, and inside a marked area.

The graph itself is a callable, so that this knows neither engines nor artifacts. Generators yield the share that is
done, 0..1, before each tile, and return the mended picture.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_runtime import canvas
from edge_runtime.images import resize_to
from edge_runtime.tiles import tiles

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Graph = Callable[[Pixels, Floats], Pixels]
"""(uint8 (h, w, 4), hole float32 (h, w)) -> uint8 (h, w, 4); sides are multiples of MULTIPLE."""

TILE_PIXELS: Final = 704
HALO_PIXELS: Final = 64
"""Side of a tile, and how far it looks beyond what is kept of it: memory stays the same at any size."""

MULTIPLE: Final = 16
HOLE_PIXELS: Final = 20
"""Holes thicker than this are filled on a reduced copy, where the graph sees across them."""

_MARKED: Final = 0.1


def mended(pixels: Pixels, graph: Graph, hole: Floats | None = None) -> Generator[float, None, Pixels]:
    """Run the graph over a whole picture; `hole` float32 (height, width) marks with 1 what it must fill."""
    result = np.empty_like(pixels)
    cover = list(tiles(pixels.shape[0], pixels.shape[1], TILE_PIXELS, HALO_PIXELS, MULTIPLE))
    for done, tile in enumerate(cover):
        yield done / len(cover)
        top, bottom, left, right = tile.seen
        cut = filled_blocks(pixels[top:bottom, left:right], MULTIPLE)
        plane = np.zeros(cut.shape[:2], np.float32)
        if hole is not None:
            plane[: bottom - top, : right - left] = hole[top:bottom, left:right]
        whole = graph(cut, plane)
        above, below, before, after = tile.kept
        result[above:below, before:after] = whole[above - top : below - top, before - left : after - left]
    return result


def mended_inside(
    pixels: Pixels, graph: Graph, mask: Floats, *, fill: float
) -> Generator[float, None, Pixels]:
    """Mend the masked area alone, in the box around it.

    mask: float32 (height, width), 0..1, not empty. Above 0, `fill` is the opacity with which what the graph puts in
    place of the marked pixels covers them; at 0 the graph mends what it sees there.
    """
    top, bottom, left, right = _box(mask)
    cut, marked = pixels[top:bottom, left:right], mask[top:bottom, left:right]
    factor = max(1, -(-_thickness(marked) // HOLE_PIXELS)) if fill > 0 else 1
    small, hole = _reduced(cut, marked, factor)
    whole = yield from mended(small, graph, hole if fill > 0 else None)
    if factor > 1:
        whole = resize_to(whole, cut.shape[1], cut.shape[0], has_alpha=True)
    result = pixels.copy()
    # what is marked even by half is replaced, or a rim of the old thing would stay
    share = (fill * np.clip(marked * 2.0, 0.0, 1.0)).astype(np.float32) if fill > 0 else marked
    result[top:bottom, left:right] = canvas.blend(cut, whole, share)
    return result


def filled_blocks(pixels: Pixels, multiple: int) -> Pixels:
    """Repeat the last row and column until both sides are multiples of `multiple`."""
    missing = [(-side) % multiple for side in pixels.shape[:2]]
    filled = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge") if any(missing) else pixels
    return np.ascontiguousarray(filled)


def _box(mask: Floats) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what is marked, with half its longer side around it, at least 64 pixels."""
    rows, columns = np.flatnonzero((mask > 0).any(1)), np.flatnonzero((mask > 0).any(0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    around = max(64, max(bottom - top, right - left) // 2)
    height, width = mask.shape
    return max(0, top - around), min(height, bottom + around), max(0, left - around), min(width, right + around)


def _thickness(mask: Floats) -> int:
    """Side of the largest square that is marked all over, by bisection on a summed area table."""
    marked = mask > 0.5
    sums = np.pad(marked.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    low, high = 0, min(marked.shape)
    while low < high:
        side = (low + high + 1) // 2
        areas = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        low, high = (side, high) if (areas == side * side).any() else (low, side - 1)
    return low


def _reduced(pixels: Pixels, mask: Floats, factor: int) -> tuple[Pixels, Floats]:
    """Picture and hole, smaller by a factor. What any part of is marked is hole; colours come from what is not."""
    if factor == 1:
        return pixels, (mask > _MARKED).astype(np.float32)
    known = pixels.copy()
    known[..., 3] = np.where(mask > _MARKED, 0, 255)
    small = resize_to(known, -(-pixels.shape[1] // factor), -(-pixels.shape[0] // factor), has_alpha=True)
    hole = (small[..., 3] < 250).astype(np.float32)
    small[..., 3] = 255
    return small, hole
