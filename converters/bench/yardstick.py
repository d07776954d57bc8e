"""A fixed piece of work, timed between the edits: how fast this machine is at that moment.

It is NumPy's and Pillow's, none of ours, so that a change of ours can't change it. Two reports are compared in its
units: what another program on the machine took away from both then cancels out.
"""

from __future__ import annotations

import time
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image

_SIDE: Final = 384
_PIXELS: Final = 320


class Yardstick:
    """Takes about 20 ms on two cores of 2024: products of matrices, a pass through memory, a JPEG there and back."""

    def __init__(self) -> None:
        chooser = np.random.default_rng(0)
        self._matrix = chooser.random((_SIDE, _SIDE), np.float32)
        coarse = chooser.integers(0, 256, (_PIXELS // 16, _PIXELS // 16, 3), np.uint8)
        self._picture = Image.fromarray(coarse).resize((_PIXELS, _PIXELS), Image.Resampling.BICUBIC)

    def seconds(self) -> float:
        """Do the work and return how long it took."""
        began = time.perf_counter()
        product = self._matrix
        for _ in range(2):
            product = np.tanh(product @ self._matrix / _SIDE)
        buffer = BytesIO()
        self._picture.save(buffer, "JPEG", quality=90)
        Image.open(buffer).load()
        return time.perf_counter() - began
