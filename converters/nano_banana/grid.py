"""Where the pixels of a picture are: all that depends on a picture's size goes through a `Grid`.

`Grid` learns sizes from shapes, which stay dynamic in an exported graph. The others are for graphs of one fixed shape,
whose pictures are filled up at the bottom and on the right by repeating the last row and column. They are told what
the shapes no longer say, and compute in the real part what `Grid` computes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from converters.nano_banana.tone import lookup


class Grid:
    """Sizes are those of the tensors."""

    def positions(self, values: Tensor, dim: int) -> Tensor:
        """Return 0, 1, 2 ... along a dimension, float32."""
        return torch.arange(values.shape[dim], dtype=torch.float32, device=values.device)

    def extent(self, values: Tensor, dim: int) -> Tensor:
        """Return a dimension's size as a tensor, which keeps it dynamic in an exported graph."""
        return self.positions(values, dim).amax(0) + 1.0

    def coarse_positions(self, index: Tensor, dim: int) -> Tensor:
        """Centres of half as many (rounded up) equal cells, the way `raised` places them: (n,) -> float32 ((n+1)//2,).

        index: the `positions` along the dimension.
        """
        count = torch.arange((index.shape[0] + 1) // 2, dtype=torch.float32, device=index.device)
        return (count + 0.5) * ((index.amax(0) + 1.0) / (count.amax(0) + 1.0)) - 0.5

    def inside(self, weights: Tensor) -> Tensor:
        """Return weights (R, 1, h, w), 0 where no real pixel is."""
        return weights

    def settled(self, planes: Tensor) -> Tensor:
        """Return planes (R, C, h, w), their last real row and column repeated outwards."""
        return planes

    def stretched(self, values: Tensor, like: Tensor) -> Tensor:
        """Interpolate the whole of (R, C, h, w) to the real size of another tensor."""
        return functional.interpolate(values, size=like.shape[2:], mode="bilinear", align_corners=False)

    def raised(self, values: Tensor, like: Tensor) -> Tensor:
        """Interpolate cells at `coarse_positions` to the size of another tensor."""
        return self.stretched(values, like)

    def lookup(self, codes: Tensor, tables: Tensor) -> Tensor:
        """codes (1 or R, 3, h, w), whole numbers 0..255, tables (R, 3, 256) -> (R, 3, h, w)."""
        return lookup(codes, tables)

    def taken(self, plane: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Plane (h, w) at whole rows int64 (m,) and columns int64 (n,) -> (m, n)."""
        return plane.index_select(1, columns).index_select(0, rows)


class FixedGrid(Grid):
    """For graphs of one fixed shape: constants instead of computed ranges, rows of tables instead of gathered values,
    which are what TFLite has kernels for.
    """

    def positions(self, values: Tensor, dim: int) -> Tensor:
        """See Grid."""
        return indices(values.shape[dim])

    def lookup(self, codes: Tensor, tables: Tensor) -> Tensor:
        """See Grid."""
        return looked_up(codes, tables)

    def taken(self, plane: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """See Grid."""
        along = functional.embedding(columns.to(torch.int32), plane.permute(1, 0))
        return functional.embedding(rows.to(torch.int32), along.permute(1, 0))


class TileGrid(FixedGrid):
    """A tile of a photo whose reduced copy has one cell for each `factor` x `factor` pixels, float32 ()."""

    def __init__(self, factor: Tensor) -> None:
        self._factor = factor

    def stretched(self, values: Tensor, like: Tensor) -> Tensor:
        """Interpolate cells (R, C, h, w), the first of which begins where the tile does, to the tile's pixels."""
        rows, columns = (
            ((self.positions(like, dim) + 0.5) / self._factor - 0.5).clamp(0.0, float(values.shape[dim] - 1))
            for dim in (2, 3)
        )
        return interpolated(values, rows, columns)


class PaddedGrid(FixedGrid):
    """`height` and `width` float32 (1,): the real size of pictures that fill the upper left part of theirs.

    Positions stop at the last real row and column, so that whatever is computed from them repeats beyond.
    """

    def __init__(self, height: Tensor, width: Tensor) -> None:
        self._sides = {2: height, 3: width}

    def positions(self, values: Tensor, dim: int) -> Tensor:
        """See Grid."""
        return torch.minimum(indices(values.shape[dim]), self._sides[dim] - 1.0)

    def extent(self, values: Tensor, dim: int) -> Tensor:
        """See Grid."""
        return self._sides[dim].reshape(())

    def coarse_positions(self, index: Tensor, dim: int) -> Tensor:
        """See Grid."""
        side, cells = self._sides[dim], self._coarse(dim)
        cell = torch.minimum(indices((len(index) + 1) // 2), cells - 1.0)
        return (cell + 0.5) * (side / cells) - 0.5

    def inside(self, weights: Tensor) -> Tensor:
        """See Grid."""
        rows, columns = ((indices(weights.shape[dim]) < side).to(weights.dtype) for dim, side in self._sides.items())
        return weights * rows.reshape(1, 1, -1, 1) * columns.reshape(1, 1, 1, -1)

    def settled(self, planes: Tensor) -> Tensor:
        """See Grid."""
        return taken(planes, self.positions(planes, 2), self.positions(planes, 3))

    def stretched(self, values: Tensor, like: Tensor) -> Tensor:
        """See Grid."""
        sizes = [values.new_full((1,), float(values.shape[dim])) for dim in (2, 3)]
        return self._interpolated(values, like, sizes)

    def raised(self, values: Tensor, like: Tensor) -> Tensor:
        """See Grid."""
        return self._interpolated(values, like, [self._coarse(dim) for dim in (2, 3)])

    def _interpolated(self, values: Tensor, like: Tensor, sizes: list[Tensor]) -> Tensor:
        rows, columns = (
            ((self.positions(like, dim) + 0.5) * (size / self._sides[dim]) - 0.5).clamp_min(0.0)
            for dim, size in zip((2, 3), sizes, strict=True)
        )
        last_row, last_column = (size - 1.0 for size in sizes)
        return interpolated(values, torch.minimum(rows, last_row), torch.minimum(columns, last_column))

    def _coarse(self, dim: int) -> Tensor:
        return torch.floor((self._sides[dim] + 1.0) / 2.0)


def indices(count: int) -> Tensor:
    """Return 0.0, 1.0 ... as a constant of the graph; TFLite has no kernel for a computed range."""
    return torch.tensor([float(i) for i in range(count)])


def interpolated(values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear values (R, C, h, w) at fractional rows (m,) and columns (n,) inside them -> (R, C, m, n)."""
    batch, channels, height, width = values.shape
    flat = values.reshape(batch * channels, height, width)
    along = _between(flat.permute(2, 0, 1), columns)
    return _between(along.permute(2, 1, 0), rows).permute(1, 0, 2).reshape(batch, channels, len(rows), len(columns))


def taken(values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Values (R, C, h, w) at whole rows (m,) and columns (n,) -> (R, C, m, n)."""
    batch, channels, height, width = values.shape
    flat = values.reshape(batch * channels, height, width)
    along = _rows_of(flat.permute(2, 0, 1), columns)
    return _rows_of(along.permute(2, 1, 0), rows).permute(1, 0, 2).reshape(batch, channels, len(rows), len(columns))


def looked_up(codes: Tensor, tables: Tensor) -> Tensor:
    """`tone.lookup` as rows of a table: the form for which TFLite has a kernel.

    Channel by channel, as one table of all would need offsets, which the converter stores for every pixel.
    """
    rows, channels = tables.shape[:2]
    numbers = codes.to(torch.int32)
    planes = [_channel(numbers[:, channel], tables[:, channel]) for channel in range(channels)]
    return torch.stack(planes, 1).reshape(rows, *codes.shape[1:])


def _channel(codes: Tensor, tables: Tensor) -> Tensor:
    """codes int32 (1 or R, h, w), tables (R, 256) -> (R, h, w)."""
    if codes.shape[0] == 1:
        found = functional.embedding(codes.reshape(-1), tables.permute(1, 0))
        return found.permute(1, 0).reshape(-1, *codes.shape[1:])
    return torch.cat([_channel(codes[row : row + 1], tables[row : row + 1]) for row in range(len(codes))])


def _between(table: Tensor, places: Tensor) -> Tensor:
    """Rows of (n, a, b) at fractional places (m,) -> (m, a, b)."""
    first = torch.floor(places)
    share = (places - first).reshape(-1, 1, 1)
    following = (first + 1.0).clamp_max(float(table.shape[0] - 1))
    low, high = _rows_of(table, first), _rows_of(table, following)
    return low + (high - low) * share


def _rows_of(table: Tensor, places: Tensor) -> Tensor:
    """Rows of (n, a, b) at whole places (m,) -> (m, a, b)."""
    found = functional.embedding(places.to(torch.int32), table.reshape(table.shape[0], -1))
    return found.reshape(len(places), *table.shape[1:])
