"""Any of Pillow's pixel modes -> 8 bits -> sRGB. Used by `images.decode` only; opens no files and knows no limits.

What can't be converted exactly is approximated and said so in the `warnings` list that the caller passes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageCms

# The spaces of input profiles, and the modes that they describe.
_PROFILE_MODES: Final[Mapping[str, tuple[str, ...]]] = {
    "RGB": ("RGB", "RGBA"), "GRAY": ("L", "LA"), "CMYK": ("CMYK",),
}
_BAD_PROFILE: Final = "The picture's colour profile is damaged or does not fit; colours were taken as sRGB"
_PROFILE_ERRORS: Final = (
    OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, ImportError, ImageCms.PyCMSError,
)
_INVISIBLE_DIFFERENCE: Final = 1  # of 255


def eight_bits(picture: Image.Image, warnings: list[str]) -> Image.Image:
    """Return the loaded picture in mode L, LA, RGB, RGBA or CMYK; with A only if some pixel is not opaque."""
    if picture.mode.startswith(("I", "F")):
        picture = _scaled(picture, warnings)
    if picture.mode == "CMYK":
        return picture
    grey = picture.mode in ("1", "L", "LA", "La")
    if not picture.has_transparency_data:
        return _converted(picture, "L" if grey else "RGB")
    key = picture.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:
        # The transparent colour of a PNG with 16 bits stays at 16 bits when Pillow brings the pixels to 8.
        picture.info["transparency"] = tuple(value >> 8 for value in key)
    picture = _converted(picture, "LA" if grey and picture.mode != "La" else "RGBA")
    least, _ = picture.getchannel("A").getextrema()
    return picture if least != 255 else _converted(picture, "L" if grey else "RGB")


def to_srgb(picture: Image.Image, info: Mapping[str | tuple[int, int], object], warnings: list[str]) -> Image.Image:
    """Return a picture of the modes of `eight_bits` as RGB or RGBA in sRGB, after the ICC profile in `info`."""
    profile = info.get("icc_profile", b"")
    if isinstance(profile, bytes) and profile:
        try:
            return _through_profile(picture, profile)
        except _PROFILE_ERRORS:
            warnings.append(_BAD_PROFILE)
    elif profile is None:  # PNG's profile is compressed; Pillow gives None if that part is damaged
        warnings.append(_BAD_PROFILE)
    elif picture.mode == "CMYK":
        warnings.append("The picture is CMYK without a colour profile; its colours are approximate")
    return _converted(picture, "RGBA" if picture.mode in ("LA", "RGBA") else "RGB")


def _through_profile(picture: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    if space == "RGB" and picture.mode in ("L", "LA"):  # grey photos are often saved with the camera's RGB profile
        picture = _converted(picture, picture.mode.replace("L", "RGB"))
    if picture.mode not in _PROFILE_MODES[space]:
        raise ValueError(f"a profile for {space} in a picture of mode {picture.mode}")
    alpha = picture.getchannel("A") if picture.mode in ("LA", "RGBA") else None
    mode = "L" if picture.mode == "LA" else picture.mode.removesuffix("A")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    transform = ImageCms.ImageCmsTransform(source, srgb, mode, "RGB")
    if mode == "RGB" and _changes_nothing(transform):
        return picture
    converted = transform.apply(_converted(picture, mode))
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Say whether the profile is sRGB under any of its names, by 125 colours; most are, and then 12 MP need no pass."""
    probe = Image.new("RGB", (125, 1))
    probe.putdata(list(product((0, 64, 128, 191, 255), repeat=3)))
    bands = ImageChops.difference(probe, transform.apply(probe)).getextrema()
    return all(isinstance(band, tuple) and band[1] <= _INVISIBLE_DIFFERENCE for band in bands)


def _converted(picture: Image.Image, mode: str) -> Image.Image:
    return picture if picture.mode == mode else picture.convert(mode)


def _scaled(picture: Image.Image, warnings: list[str]) -> Image.Image:
    """Bring grey of 16 bits, 32 bits or floating point to 8 bits, mode L or LA."""
    values = np.asarray(picture)
    if values.dtype == np.uint16:
        grey = Image.fromarray(_rounded(values, 0.0, 65535.0))
        key = picture.info.get("transparency")
        if isinstance(key, int):
            grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
        return grey
    values = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    usual = 1.0 if picture.mode == "F" else 65535.0
    if low < 0.0 or high > usual:
        warnings.append("The picture's brightness has no usual range and was stretched to fit")
    else:
        low, high = 0.0, usual
    return Image.fromarray(_rounded(values, low, high))


def _rounded(values: npt.NDArray[np.generic], low: float, high: float) -> npt.NDArray[np.uint8]:
    share = (values.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-30))
    return (share * 255.0 + 0.5).clip(0.0, 255.0).astype(np.uint8)
