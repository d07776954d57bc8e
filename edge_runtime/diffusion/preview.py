"""An early look at a picture that is still being painted, without the autoencoder.

Colour is nearly linear in the latents of an autoencoder. The map needs no stored numbers: the photo's latents and its
pixels are both known, so it is fitted to them by least squares, for this photo's own colours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.family import Pixels

Floats = NDArray[np.float32]
_MOST_SAMPLES = 4096


class ColourMap:
    """Raw latents -> colours, one pixel a latent."""

    def __init__(self, latents: Floats, photo: Image.Image) -> None:
        """Fit to raw latents (1, channels, height, width) and the photo that they are of."""
        features = _features(latents)
        small = photo.resize((latents.shape[3], latents.shape[2]), Image.Resampling.BOX)
        colours = np.asarray(small, np.float32).reshape(-1, 3)
        step = -(-len(features) // _MOST_SAMPLES)
        some = features[::step].astype(np.float64)
        ridge = 1e-3 * len(some) * np.diag([*np.full(some.shape[1] - 1, some[:, :-1].var() + 1e-6), 0])
        solved = np.linalg.solve(some.T @ some + ridge, some.T @ colours[::step])
        self._matrix = solved.astype(np.float32)

    def __call__(self, latents: Floats) -> Pixels:
        """Return uint8 (height, width, 4), opaque."""
        height, width = latents.shape[2:]
        pixels = np.full((height, width, 4), 255, np.uint8)
        colours = np.clip(_features(latents) @ self._matrix, 0, 255)
        pixels[..., :3] = np.nan_to_num(colours).round().reshape(height, width, 3)
        return pixels


def _features(latents: Floats) -> Floats:
    """Return (latents, channels + 1): the channels and a constant."""
    flat = latents[0].reshape(latents.shape[1], -1).T
    return np.concatenate((flat, np.ones((len(flat), 1), np.float32)), axis=1)
