"""Rounds weights to 4 bits so that whole numbers of 8 bits come out of them: scales of two levels.

An output has one step, as 8-bit weights have; a block of its inputs has a whole number of those steps for its own, and
a zero point (VS-Quant, Dai et al. 2021, arXiv:2102.04503; QServe, Lin et al. 2024, arXiv:2405.04532). So a weight is
`multiple * (code - zero)` steps, which is an 8-bit code without another rounding: products are those of 8 bits, and a
block costs a byte instead of the four of a scale in float. Blocks of 16 (4.5 bits a weight) are 0.5 dB better than
blocks of 32 with scales in float (5.1 bits), on normal values. The arithmetic is in two_level_torch.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.recipe import WeightScheme
from converters.source import Rows


@dataclass(frozen=True, slots=True)
class TwoLevel:
    """A weight matrix as codes of 4 bits, two in a byte.

    codes: uint8 (inputs / 2, outputs): row k holds input k in its low half and input k + inputs / 2 in its high half.
    blocks: uint8 (inputs / group, 1, outputs): zero point in the low half, multiple (1..15) in the high half.
    steps: float32 (outputs,). snr_db: of the weights, in decibels.
    """

    codes: NDArray[np.uint8]
    blocks: NDArray[np.uint8]
    steps: NDArray[np.float32]
    snr_db: float


def fits(multiplied: tuple[int, int], scheme: WeightScheme) -> bool:
    """Return whether a matrix of so many inputs and outputs has whole blocks, and so two halves."""
    assert scheme.group_size is not None  # WeightScheme checks it
    return multiplied[0] % scheme.group_size == 0


def round_two_level(rows: Rows, shape: tuple[int, int], scheme: WeightScheme) -> TwoLevel:
    """Round float32 (outputs, inputs), `shape`, read by rows as they are needed; it must fit."""
    from converters.two_level_torch import round_rows  # here, as whoever rounds plainly need not wait for torch

    return round_rows(rows, shape, scheme)


def unpacked(codes: NDArray[np.uint8], blocks: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return the weights in steps, -64..64 (inputs, outputs): what the graph makes of a TwoLevel's members."""
    whole = np.concatenate([codes & 15, codes >> 4]).astype(np.int8)
    zero, multiple = (blocks & 15).astype(np.int8), (blocks >> 4).astype(np.int8)
    grouped = whole.reshape(len(blocks), -1, whole.shape[1])
    return np.asarray(((grouped - zero) * multiple).reshape(whole.shape), np.int8)
