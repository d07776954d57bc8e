"""Cutting a large picture into pieces that a graph can hold, and putting the results together. Sizes only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tile:
    """One piece along both axes. `seen` is what the graph looks at, `kept` the part of the result that is used, both
    as (top, bottom, left, right) in pixels of the picture."""

    seen: tuple[int, int, int, int]
    kept: tuple[int, int, int, int]


def tiles(height: int, width: int, side: int, halo: int, multiple: int = 1) -> Iterator[Tile]:
    """Cover a picture with tiles that see at most `side` pixels, `halo` of them beyond what is kept.

    Tiles begin at multiples of `multiple`, so that a network with strides sees the same grid in all of them; side and
    halo must be multiples too. A picture that fits is one tile. Raises ValueError for sizes that can't do that.
    """
    if side < 2 * halo + multiple or side % multiple or halo % multiple:
        raise ValueError(f"tiles of {side} pixels with halos of {halo} leave nothing between, or miss the grid")
    for top, bottom in _spans(height, side, halo, multiple):
        for left, right in _spans(width, side, halo, multiple):
            seen = (max(0, top - halo), min(height, bottom + halo), max(0, left - halo), min(width, right + halo))
            yield Tile(seen, (top, bottom, left, right))


def strips(height: int, width: int, pixels: int, multiple: int) -> list[tuple[int, int]]:
    """Cut rows into equal strips (top, bottom) of about `pixels` pixels; inner borders are multiples of `multiple`."""
    count = -(-height * width // pixels)
    step = max(1, -(-height // (count * multiple))) * multiple
    return [(top, min(top + step, height)) for top in range(0, height, step)]


def _spans(length: int, side: int, halo: int, multiple: int) -> list[tuple[int, int]]:
    """Nearly equal spans, so that no tile is a sliver; all but the last end at a multiple."""
    if length <= side:
        return [(0, length)]
    count = -(-length // (side - 2 * halo))
    step = -(-length // (count * multiple)) * multiple
    return [(first, min(first + step, length)) for first in range(0, length, step)]
