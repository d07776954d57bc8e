"""Where cut-outs of subjects lie in their pictures, where in a picture one may be laid, and laying it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_CELLS: Final = 32
"""Places in a picture are drawn from a grid of so many cells a side."""


@dataclass(frozen=True)
class View:
    """Which part of each picture is seen: source = offset + matrix @ output, both in -1..1.

    matrix: float32 (batch, 2, 2). offset: float32 (batch, 2).
    """

    matrix: Tensor
    offset: Tensor


def lay_over(layers: Tensor, where: Tensor, colours: Tensor, cover: Tensor, masks: Tensor) -> None:
    """Compose colours and masks over the rows `where` with the opacity `cover` (rows, 1, side, side)."""
    below = layers[where]
    above = torch.cat([colours, masks.expand(-1, -1, *colours.shape[2:])], 1)
    layers[where] = below + (above - below) * cover


def weights(groups: tuple[str, ...], shares: dict[str, float]) -> Tensor:
    """Return chances of each picture such that the groups get their shares."""
    totals = {group: groups.count(group) for group in shares}
    return torch.tensor([shares[group] / totals[group] if group in shares else 0.0 for group in groups])


def outlines(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return boxes (pictures, 4) and tops of the heads (pictures, 2) of uint8 masks, in -1..1.

    A box is left, top, right, bottom.
    """
    solid = (masks > 127).numpy()
    side = solid.shape[1]
    boxes, heads = np.zeros((len(solid), 4)), np.zeros((len(solid), 2))
    for index, mask in enumerate(solid):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            boxes[index] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
            top = mask[rows[0] : rows[0] + max(2, len(rows) // 8)]
            heads[index] = np.flatnonzero(top.any(0)).mean(), rows[0]
    return torch.tensor(boxes / side * 2 - 1).float(), torch.tensor(heads / side * 2 - 1).float()


def edge_cells(masks: Tensor) -> Tensor:
    """Return 1 where the edge of the subject passes, without the topmost quarter: nobody holds things above the head.

    masks: (rows, 1, side, side) in 0..1. Returns (rows, cells), as cell_centres numbers them.
    """
    solid = (functional.interpolate(masks, (_CELLS, _CELLS), mode="area") > 0.5).float()
    edge = solid * (functional.avg_pool2d(solid, 3, 1, 1) < 0.99)
    filled = solid.amax(3, keepdim=True).cumsum(2)
    return (edge * (filled > filled.amax(2, keepdim=True) / 4)).flatten(1)


def cell_centres(cells: Tensor) -> Tensor:
    """Return x and y in -1..1 of the middles of cells, (rows, 2)."""
    return torch.stack([cells % _CELLS, cells // _CELLS], 1) / (_CELLS / 2) - (1 - 1 / _CELLS)
