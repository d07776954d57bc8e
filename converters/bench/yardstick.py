"""A fixed piece of work, timed between the edits: how fast this machine is at that moment.

It is NumPy's and Pillow's, none of ours, so that a change of ours can't change it, and of one thread: several that wait
for each other take ten times as long on a machine that does something else too, and say nothing then.
"""

from __future__ import annotations

import time
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image

_PIXELS: Final = 512


class Yardstick:
    """Takes about 15 ms on a core of 2024: arithmetic, passes through memory, a JPEG there and back."""

    def __init__(self) -> None:
        chooser = np.random.default_rng(0)
        self._numbers = chooser.random((_PIXELS, _PIXELS), np.float32)
        coarse = chooser.integers(0, 256, (_PIXELS // 16, _PIXELS // 16, 3), np.uint8)
        self._picture = Image.fromarray(coarse).resize((_PIXELS, _PIXELS), Image.Resampling.BICUBIC)

    def read(self) -> dict[str, float]:
        """Do the work and return how long it took: `total` seconds, and `processor` seconds, waiting left out."""
        began, used = time.perf_counter(), time.thread_time()
        numbers = self._numbers
        for _ in range(4):
            numbers = np.sqrt(numbers * self._numbers + 0.5)
        buffer = BytesIO()
        self._picture.save(buffer, "JPEG", quality=90)
        Image.open(buffer).load()
        return {"total": time.perf_counter() - began, "processor": time.thread_time() - used}
