"""Normal noise by seed, the same numbers that PyTorch's generator gives on a CPU.

Seeds are then worth something: what was found with the original pipeline comes out here too. PyTorch draws 24 random
bits a number from a Mersenne twister and turns blocks of 16 by the Box-Muller transform (ATen/native/cpu,
`normal_fill`); below 16 numbers it draws otherwise, which no picture needs.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

_BLOCK: Final = 16
_HALF: Final = _BLOCK // 2


class Noise:
    """A stream of normal noise."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.MT19937()
        self._bits.state = np.random.RandomState(seed).get_state(legacy=False)  # type: ignore[assignment]

    def normal(self, *shape: int) -> NDArray[np.float32]:
        """Return float32 of a shape, mean 0, standard deviation 1; at least 16 numbers."""
        count = math.prod(shape)
        if count < _BLOCK:
            raise ValueError(f"noise comes in at least {_BLOCK} numbers, not {count}")
        values = self._uniform(count)
        whole = count - count % _BLOCK
        values[:whole] = _turned(values[:whole])
        if whole < count:  # the last block is drawn anew and laid over the end
            values[-_BLOCK:] = _turned(self._uniform(_BLOCK))
        return values.reshape(shape)

    def _uniform(self, count: int) -> NDArray[np.float32]:
        bits = self._bits.random_raw(count) & np.uint64((1 << 24) - 1)
        return bits.astype(np.float32) * np.float32(2.0**-24)


def _turned(uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return normal numbers from blocks of 16 uniform ones in 0..1: 8 radii, then 8 angles."""
    blocks = uniform.reshape(-1, 2, _HALF)
    radius = np.sqrt(-2 * np.log(1 - blocks[:, 0]))
    angle = np.float32(2 * math.pi) * blocks[:, 1]
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1).reshape(-1)
