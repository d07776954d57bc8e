"""Weights as the converter computes with them, in a file that is mapped into memory.

For writers that need a whole module: every module built from them shares the file's pages, which the system drops when
it needs the room, where a checkpoint in bfloat16 would become twice its size of private memory for each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.source import Rows, Weights


class MappedWeights:
    """Implements `Weights`; the file must stay while arrays are in use. What is written into arrays stays in memory."""

    def __init__(self, weights: Weights, file: Path) -> None:
        """Write the file; raises ConversionError as `weights` does, and OSError."""
        self._arrays: dict[str, NDArray[Any]] = {}
        with file.open("wb") as opened:
            for name in weights.names:
                array = weights.read(name)
                opened.write(bytes(-opened.tell() % array.itemsize))
                offset = opened.tell()
                opened.write(array.tobytes())
                opened.flush()
                mapped = np.memmap(file, array.dtype, "c", offset, array.shape) if array.size else array
                self._arrays[name] = mapped.view(np.ndarray)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the checkpoint's files."""
        return tuple(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return self._arrays[name].shape

    def read(self, name: str) -> NDArray[Any]:
        """Return a tensor; its pages are shared with all who read it."""
        return self._arrays[name]

    def rows(self, name: str) -> Rows:
        """Return a reader of a tensor's rows."""
        return lambda start, stop: self._arrays[name][start:stop].copy()
