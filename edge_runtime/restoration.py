"""Mending pixels with a restoration graph: tile by tile over any size, and inside a marked area.

The graph itself is a callable, so that this knows neither engines nor artifacts. Generators yield the share that is
done, 0..1, before each tile, and return the mended picture.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime import canvas
from edge_runtime.images import resize_to
from edge_runtime.tiles import tiles

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Graph = Callable[[Pixels, Floats], Pixels]
"""(uint8 (h, w, 4), hole float32 (h, w)) -> uint8 (h, w, 4); sides are multiples of `multiple`."""



@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """The numbers of an artifact's settings that say how it is done.

    A tile sees `tile_pixels` along both axes, `halo_pixels` of them beyond what is kept of it, so that memory stays the
    same at any size; all are multiples of `multiple`. What the mask marks by more than `marked` is hole. Holes thicker
    than `hole_pixels` are filled on a reduced copy, where the graph sees across them, and there what keeps less alpha
    than `known_alpha` of 255 is hole. At least `around_pixels` around what is marked are looked at.
    """

    tile_pixels: int
    halo_pixels: int
    multiple: int
    hole_pixels: int
    marked: float
    known_alpha: int
    around_pixels: int


def mended(
    pixels: Pixels, graph: Graph, mending: Mending, hole: Floats | None = None
) -> Generator[float, None, Pixels]:
    """Run the graph over a whole picture; `hole` float32 (height, width) marks with 1 what it must fill."""
    result = np.empty_like(pixels)
    size = (mending.tile_pixels, mending.halo_pixels, mending.multiple)
    cover = list(tiles(pixels.shape[0], pixels.shape[1], *size))
    for done, tile in enumerate(cover):
        yield done / len(cover)
        top, bottom, left, right = tile.seen
        cut = filled_blocks(pixels[top:bottom, left:right], mending.multiple)
        plane = np.zeros(cut.shape[:2], np.float32)
        if hole is not None:
            plane[: bottom - top, : right - left] = hole[top:bottom, left:right]
        whole = graph(cut, plane)
        above, below, before, after = tile.kept
        result[above:below, before:after] = whole[above - top : below - top, before - left : after - left]
    return result


def mended_inside(
    pixels: Pixels, graph: Graph, mending: Mending, mask: Floats, *, fill: float
) -> Generator[float, None, Pixels]:
    """Mend the masked area alone, in the box around it.

    mask: float32 (height, width), 0..1, not empty. Above 0, `fill` is the opacity with which what the graph puts in
    place of the marked pixels covers them; at 0 the graph mends what it sees there.
    """
    top, bottom, left, right = _box(mask, mending.around_pixels)
    cut, marked = pixels[top:bottom, left:right], mask[top:bottom, left:right]
    factor = max(1, -(-_thickness(marked) // mending.hole_pixels)) if fill > 0 else 1
    small, hole = _reduced(cut, marked, factor, mending)
    whole = yield from mended(small, graph, mending, hole if fill > 0 else None)
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


def _box(mask: Floats, least: int) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what is marked, with half its longer side around it, at least `least` pixels."""
    rows, columns = np.flatnonzero((mask > 0).any(1)), np.flatnonzero((mask > 0).any(0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    around = max(least, max(bottom - top, right - left) // 2)
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


def _reduced(pixels: Pixels, mask: Floats, factor: int, mending: Mending) -> tuple[Pixels, Floats]:
    """Picture and hole, smaller by a factor. What any part of is marked is hole; colours come from what is not."""
    if factor == 1:
        return pixels, (mask > mending.marked).astype(np.float32)
    known = pixels.copy()
    known[..., 3] = np.where(mask > mending.marked, 0, 255)
    small = resize_to(known, -(-pixels.shape[1] // factor), -(-pixels.shape[0] // factor), has_alpha=True)
    hole = (small[..., 3] < mending.known_alpha).astype(np.float32)
    small[..., 3] = 255
    return small, hole
