"""Rounds weight matrices to NF4, 16 levels that a normal distribution fills evenly. Pure NumPy, no file format.

Dettmers et al. 2023, QLoRA (https://arxiv.org/abs/2305.14314). Codes, scales and their layout are those of
bitsandbytes' `quantize_4bit`, bit for bit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

LEVELS: Final[NDArray[np.float32]] = np.array(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
        0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ],
    np.float32,
)
"""What the codes 0 to 15 stand for, times the block's largest magnitude."""

_MIDPOINTS: Final = (LEVELS[:-1] + LEVELS[1:]) / np.float32(2)
_TINY: Final = np.float32(1e-38)


def round_nf4(weight: NDArray[np.float32], block_size: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round float32 (inputs, outputs); return two codes a byte, uint8 (ceil(size / 2),), the first one in the high
    half, and the largest magnitude of every block, float32 (ceil(size / block_size),).

    Blocks go over the flattened transpose, (outputs, inputs), as torch keeps the weight of a linear layer: with inputs
    that are no multiple of the block they reach across outputs. The last block may be shorter. A half byte left over
    holds the code of zero.
    """
    flat = weight.T.astype(np.float32).ravel()
    whole = flat.size - flat.size % block_size
    blocks, rest = flat[:whole].reshape(-1, block_size), flat[whole:]
    largest = np.abs(blocks).max(1)
    # times the reciprocal for whole blocks but divided for the last: as bitsandbytes does it
    scaled = (blocks * (np.float32(1) / np.maximum(largest, _TINY))[:, None]).ravel()
    if rest.size:
        last = np.maximum(np.abs(rest).max(), _TINY)
        largest, scaled = np.append(largest, last), np.concatenate([scaled, rest / last])
    codes = np.searchsorted(_MIDPOINTS, np.pad(scaled.clip(-1, 1), (0, flat.size % 2))).astype(np.uint8)
    return np.left_shift(codes[::2], 4, dtype=np.uint8) | codes[1::2], largest.astype(np.float32)


def restore_nf4(
    packed: NDArray[np.uint8], largest: NDArray[np.float32], shape: tuple[int, int], block_size: int
) -> NDArray[np.float32]:
    """Return the float32 (inputs, outputs) of this shape that codes and magnitudes stand for."""
    inputs, outputs = shape
    codes = np.stack([packed >> 4, packed & 15], axis=1).ravel()[: inputs * outputs]
    flat = LEVELS[codes] * np.repeat(largest, block_size)[: codes.size]
    return flat.reshape(outputs, inputs).T
