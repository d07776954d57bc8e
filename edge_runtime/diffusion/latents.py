"""The space that a denoiser works in: raw latents of the autoencoder, scaled, and folded into patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_runtime.diffusion.settings import Settings

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentSpace:
    """`compression` is pixels per latent; `patch` latents per token, along a side.

    A token is (raw - mean) / std; both are numbers, or one of each for every channel of a patch.
    """

    channels: int
    compression: int
    patch: int
    mean: Floats
    std: Floats

    @classmethod
    def read(cls, settings: Settings) -> LatentSpace:
        """Read the manifest's member `latents`; raises ArtifactError."""
        channels, patch = settings.whole("channels"), settings.whole("patch", default=1)
        if "std" in settings:
            wide = channels * patch * patch
            mean, std = (np.array(settings.numbers(name, wide), np.float32) for name in ("mean", "std"))
        else:
            mean = np.array(settings.number("shift"), np.float32)
            std = np.array(1 / settings.number("scale"), np.float32)
        return cls(
            channels=channels, compression=settings.whole("compression"), patch=patch, mean=mean, std=std
        )

    @property
    def token_pixels(self) -> int:
        """Return how many pixels of a side a token stands for."""
        return self.compression * self.patch

    def tokens(self, raw: Floats) -> Floats:
        """Fold raw latents (1, channels, height, width) into scaled tokens (1, tokens, channels * patch^2)."""
        return self.scaled(folded(raw, self.patch))

    def raw(self, tokens: Floats, height: int, width: int) -> Floats:
        """Undo `tokens` for a picture of height x width pixels."""
        rows, columns = height // self.token_pixels, width // self.token_pixels
        return unfolded(self.unscaled(tokens), rows, columns, self.patch)

    def scaled(self, tokens: Floats) -> Floats:
        """Scale what `folded` returns, or with plain numbers for statistics, anything."""
        return (tokens - self.mean) / self.std

    def unscaled(self, tokens: Floats) -> Floats:
        """Undo `scaled`."""
        return tokens * self.std + self.mean


def folded(latents: Floats, patch: int) -> Floats:
    """Fold (1, channels, height, width) into (1, tokens, channels * patch^2): channels, then rows, then columns."""
    _, channels, height, width = latents.shape
    rows, columns = height // patch, width // patch
    parts = latents.reshape(channels, rows, patch, columns, patch).transpose(1, 3, 0, 2, 4)
    return np.ascontiguousarray(parts.reshape(1, rows * columns, channels * patch * patch))


def unfolded(tokens: Floats, rows: int, columns: int, patch: int) -> Floats:
    """Undo `folded`."""
    channels = tokens.shape[2] // patch**2
    parts = tokens.reshape(rows, columns, channels, patch, patch).transpose(2, 0, 3, 1, 4)
    return np.ascontiguousarray(parts.reshape(1, channels, rows * patch, columns * patch))
