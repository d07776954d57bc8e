"""Photo and mask as they leave this machine: upright, sRGB, without metadata, in a format that every provider reads.

What a camera wrote beside the pixels (place, time, owner) is nobody's business there, and decoding before sending also
means that a broken picture costs nothing.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from edge_runtime import images
from edge_runtime.images import Decode
from edge_runtime.limits import Limits
from edge_runtime.request import EditRequest, Size

QUALITY: Final = 95
"""Of JPEG: the provider's model loses more than this does, and PNG is five times as much to send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An encoded picture with its size in pixels."""

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int

    @property
    def base64(self) -> str:
        """Return the bytes as base64 text."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_url(self) -> str:
        """Return the picture as a `data:` URL."""
        return f"data:{self.media_type};base64,{self.base64}"

    @property
    def filename(self) -> str:
        """Return a name for a form; the user's own stays here."""
        return f"picture.{self.media_type.removeprefix('image/')}"


def picture(data: bytes, fit: Size | None = None, decode: Decode = images.decode) -> Picture:
    """Return an encoded picture as it leaves: JPEG, or PNG where it has transparency; raises ImageError.

    With `fit` it is shrunk into that box. `decode` may decode it elsewhere.
    """
    photo = decode(data, Limits(), fit)
    encoded, media_type, _ = images.encode(photo.pixels, photo.has_alpha, "png" if photo.has_alpha else "jpeg", QUALITY)
    height, width = photo.pixels.shape[:2]
    return Picture(data=encoded, media_type=media_type, width=width, height=height)


def pictures(request: EditRequest, decode: Decode) -> tuple[Picture, ...]:
    """Return the photo, in the size that is asked for, and the pictures besides."""
    others = (picture(other, None, decode) for other in request.references)
    return (picture(request.image, request.size, decode), *others)


def white_mask(request: EditRequest, photo: Picture, decode: Decode) -> Picture | None:
    """Return the mask as PNG of the photo's size, white where the edit belongs on black; None without one."""
    if request.mask is None:
        return None
    marked = _marked(request.mask, photo, decode)
    pixels = np.empty((photo.height, photo.width, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = marked[..., None], 255
    return _png(pixels)


def clear_mask(request: EditRequest, photo: Picture, decode: Decode) -> Picture | None:
    """Return the mask as PNG of the photo's size, transparent where the edit belongs, else black; None without one."""
    if request.mask is None:
        return None
    pixels = np.zeros((photo.height, photo.width, 4), np.uint8)
    pixels[..., 3] = 255 - _marked(request.mask, photo, decode)
    return _png(pixels)


def _marked(mask: bytes, photo: Picture, decode: Decode) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.round(255 * images.decode_mask(mask, Limits(), photo.width, photo.height, decode)).astype(np.uint8)


def _png(pixels: images.Pixels) -> Picture:
    data, media_type, _ = images.encode(pixels, True, "png")
    return Picture(data=data, media_type=media_type, width=pixels.shape[1], height=pixels.shape[0])
