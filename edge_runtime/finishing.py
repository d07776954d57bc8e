"""The last step of an edit, whoever made the picture: sharpened if that is asked for, and written as it is wanted."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageCms, ImageFilter

from edge_runtime import images
from edge_runtime.request import EditRequest

_RADIUS_PIXELS: Final = 1.2
_MOST_PERCENT: Final = 200
_THRESHOLD: Final = 2
"""Differences of fewer steps of 255 are left alone: they are noise, and the blocks of JPEG."""


def written(
    pixels: images.Pixels, has_alpha: bool, natural_format: str, request: EditRequest
) -> tuple[bytes, str, tuple[str, ...]]:
    """Return uint8 (height, width, 4) pixels as bytes, media type and warnings; raises as `images.encode` does.

    `natural_format` is for requests that name none.
    """
    if request.sharpen:
        pixels = sharpened(pixels, request.sharpen)
    profile = _srgb() if request.profile == "srgb" else None
    return images.encode(pixels, has_alpha, request.output_format or natural_format, request.quality, profile)


def sharpened(pixels: images.Pixels, amount: float) -> images.Pixels:
    """Return RGBA pixels with steeper edges by an unsharp mask, `amount` 0..1; transparency stays as it is."""
    mask = ImageFilter.UnsharpMask(_RADIUS_PIXELS, round(_MOST_PERCENT * amount), _THRESHOLD)
    colours = Image.fromarray(np.ascontiguousarray(pixels[..., :3])).filter(mask)
    return np.dstack((np.asarray(colours), pixels[..., 3]))


@lru_cache(maxsize=1)
def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
