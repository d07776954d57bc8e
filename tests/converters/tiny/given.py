"""Weights in memory, where components read those of a checkpoint."""

import numpy as np


class Given:
    """Weights in memory."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        self.tensors = tensors
        self.names = tuple(tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def read(self, name: str) -> np.ndarray:
        return self.tensors[name].copy()

    def rows(self, name: str):
        return lambda start, stop: self.tensors[name][start:stop].copy()
