"""Splits a weight matrix into small integers and a float product of two thin matrices. Pure NumPy, no file format.

After Li et al. 2024, SVDQuant (https://arxiv.org/abs/2411.05007), without its smoothing of activations: those stay in
float here. Like there, the thin matrices first take the largest singular directions of the weight, so that less is left
to round; then integers and thin matrices are fitted to each other's error in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.recipe import WeightScheme
from converters.rounding import restore_weight, round_weight

ROUNDS: Final = 10
LEAST_GAIN: Final = 0.01
"""Share of the squared error that one more round must take away, or it was the last."""

LARGEST_SHARE: Final = 0.25
"""How much of the float weight's size the thin matrices may have: above it, more bits for all weights buy more."""


@dataclass(frozen=True, slots=True)
class Split:
    """The weight is about `codes` * `scales` (see `round_weight`) + `left` @ `right`, which are float32
    (inputs, rank) and (rank, outputs).
    """

    codes: NDArray[Any]
    scales: NDArray[np.float32]
    left: NDArray[np.float32]
    right: NDArray[np.float32]


def pays_off(shape: tuple[int, ...], rank: int) -> bool:
    """Return whether thin matrices of this rank are small beside a float weight (inputs, outputs)."""
    inputs, outputs = shape
    return 0 < rank * (inputs + outputs) <= LARGEST_SHARE * inputs * outputs


def split_weight(weight: NDArray[np.float32], scheme: WeightScheme) -> Split:
    """Split float32 (inputs, outputs): the best of up to `ROUNDS` turns of rounding and fitting, by squared error."""
    left, right = nearest_of_rank(weight, scheme.rank)
    best, least = None, np.inf
    for _ in range(ROUNDS):
        codes, scales = round_weight(weight - left @ right, scheme)
        lost = weight - restore_weight(codes, scales, scheme)
        left, right = nearest_of_rank(lost, scheme.rank)
        error = float(np.square(lost - left @ right).sum())
        enough = error >= (1 - LEAST_GAIN) * least
        if best is None or error < least:
            best, least = Split(codes, scales, left, right), error
        if enough:
            break
    assert best is not None
    return best


def nearest_of_rank(matrix: NDArray[np.float32], rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return float32 (rows, rank) and (rank, columns), whose product is the matrix of this rank with the smallest
    squared error (Eckart and Young 1936).

    It is the projection on the leading singular vectors of the shorter side, found as eigenvectors of the Gram matrix:
    a third of the time of a singular value decomposition.
    """
    if matrix.shape[0] < matrix.shape[1]:
        left, right = nearest_of_rank(np.ascontiguousarray(matrix.T), rank)
        return np.ascontiguousarray(right.T), np.ascontiguousarray(left.T)
    wide = matrix.astype(np.float64)
    _, vectors = np.linalg.eigh(wide.T @ wide)  # in ascending order
    leading = vectors[:, -rank:]
    return (wide @ leading).astype(np.float32), np.ascontiguousarray(leading.T.astype(np.float32))
