"""Pictures to raw latents and back, in tiles when they are large, so that memory stays bounded.

Tiles overlap, and where they do the results are blended linearly. Networks without norms over the whole picture give
the same as in one piece but for the borders. Those with such norms see every tile alone, so tiles differ a little in
colour and contrast, which the blending spreads over the overlap: `python -m benchmarks.edit_seams` measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.diffusion.components import Components
from edge_runtime.diffusion.memory import TILE_PIXELS, WHOLE_PIXELS
from edge_runtime.generators import finished

Floats = NDArray[np.float32]

OVERLAP_PIXELS: Final = 128


class Autoencoder:
    """The parts `vae_encoder` and `vae_decoder` of an artifact."""

    def __init__(self, components: Components, compression: int, whole_pixels: int = WHOLE_PIXELS) -> None:
        self._components, self._compression = components, compression
        self.whole_pixels, self.tile, self.overlap = whole_pixels, TILE_PIXELS, OVERLAP_PIXELS

    def encode(self, image: Floats) -> Floats:
        """Return raw latents of a picture in -1..1, float32 (1, channels, height, width), sides / compression."""
        if image.shape[2] * image.shape[3] <= self.whole_pixels:
            return self._encode(image)
        return finished(self._tiled(self._encode, image, self.tile, 1 / self._compression))

    def decode(self, latents: Floats) -> Generator[float, None, Floats]:
        """Return a picture, float32 (1, 3, height, width) in about -1..1; yields the share done before every tile."""
        pixels = latents.shape[2] * latents.shape[3] * self._compression**2
        if pixels <= self.whole_pixels:
            yield 0.0
            return self._decode(latents)
        return (yield from self._tiled(self._decode, latents, self.tile // self._compression, self._compression))

    def _encode(self, image: Floats) -> Floats:
        return self._components.run("vae_encoder", image=image)["latents"]

    def _decode(self, latents: Floats) -> Floats:
        return self._components.run("vae_decoder", latents=latents)["image"]

    def _tiled(
        self, run: Callable[[Floats], Floats], whole: Floats, side: int, scale: float
    ) -> Generator[float, None, Floats]:
        """Run over tiles of at most `side`; results are `scale` times as large, and blended where they overlap."""
        overlap = side * self.overlap // self.tile
        unit = max(1, round(1 / scale))  # borders of tiles fall on borders of latents
        rows, columns = (list(_spans(length, side, overlap, unit)) for length in whole.shape[2:])
        total: Floats | None = None
        weights = np.zeros([round(length * scale) for length in whole.shape[2:]], np.float32)
        for place, ((top, bottom), (left, right)) in enumerate((row, column) for row in rows for column in columns):
            yield place / (len(rows) * len(columns))
            part = run(np.ascontiguousarray(whole[:, :, top:bottom, left:right]))
            if total is None:
                total = np.zeros((1, part.shape[1], *weights.shape), np.float32)
            weight = np.outer(
                *(
                    _ramps(round((last - first) * scale), round(overlap * scale), first > 0, last < length)
                    for first, last, length in ((top, bottom, whole.shape[2]), (left, right, whole.shape[3]))
                )
            ).astype(np.float32)
            y, x = round(top * scale), round(left * scale)
            total[:, :, y : y + part.shape[2], x : x + part.shape[3]] += part * weight
            weights[y : y + part.shape[2], x : x + part.shape[3]] += weight
        assert total is not None
        total /= weights
        return total


def _spans(length: int, side: int, overlap: int, unit: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of nearly equal pieces of at most `side`, neighbours sharing at least `overlap`."""
    if length <= side:
        yield 0, length
        return
    count = -(-(length - overlap) // (side - overlap))
    for place in range(count):
        first = (length - side) * place // (count - 1) // unit * unit
        yield first, first + side if place < count - 1 else length


def _ramps(length: int, ramp: int, before: bool, behind: bool) -> NDArray[np.float64]:
    """Return weights that rise at the start and fall at the end where a neighbour is."""
    weights = np.ones(length)
    slope = (np.arange(ramp) + 0.5) / ramp
    if before:
        weights[:ramp] = slope
    if behind:
        weights[length - ramp :] = np.minimum(weights[length - ramp :], slope[::-1])
    return weights
