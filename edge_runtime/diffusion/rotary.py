"""Rotary position tables (https://arxiv.org/abs/2104.09864), float64 inside, and where pictures stand in a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def frequencies(width: int, theta: float) -> NDArray[np.float64]:
    """Return the angle a position of every pair of `width` channels, (width / 2,)."""
    return theta ** (-np.arange(0, width, 2, dtype=np.float64) / width)


def tables(positions: NDArray[Any], widths: Sequence[int], theta: float) -> tuple[Floats, Floats]:
    """Return cosines and sines, float32 (tokens, sum of widths), each number twice: the pairs (2i, 2i + 1) rotate.

    `positions` are (tokens, axes); an axis turns `widths[axis]` channels.
    """
    angles = [positions[:, axis, None] * frequencies(width, theta) for axis, width in enumerate(widths)]
    doubled = np.concatenate(angles, axis=1).repeat(2, axis=1)
    return np.cos(doubled).astype(np.float32), np.sin(doubled).astype(np.float32)


def halves(angles: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return cosines and sines, float32 (..., 2 * width), of angles (..., width): the pairs (i, i + width) rotate."""
    both = np.concatenate((angles, angles), axis=-1)
    return np.cos(both).astype(np.float32), np.sin(both).astype(np.float32)


def grid(rows: int, columns: int, *, first: int = 0, down: int = 0, right: int = 0, axes: int = 3) -> NDArray[np.int64]:
    """Return the positions of a picture's tokens, row by row, (rows * columns, axes).

    The axes are `first`, then row and column, counted from `down` and `right`; further axes are 0.
    """
    places = np.zeros((rows, columns, axes), np.int64)
    places[..., 0] = first
    places[..., 1] = np.arange(down, down + rows)[:, None]
    places[..., 2] = np.arange(right, right + columns)
    return places.reshape(-1, axes)
