"""Sizes that a family works at, and pixels as networks want them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.diffusion.settings import Settings
from edge_runtime.errors import ArtifactError, OptionError
from edge_runtime.family import Pixels
from edge_runtime.request import Size

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRule:
    """How large results are: the photo's proportions, an area, sides that are multiples.

    `enlarges`: a photo smaller than the area is painted at that area all the same, as the model was trained there.
    `rounded_to` is what sides are rounded to before they're cut to multiples; 0 for none.
    """

    multiple: int
    area: int
    largest: int
    least: int
    enlarges: bool
    rounded_to: int

    @classmethod
    def read(cls, settings: Settings) -> SizeRule:
        """Read the manifest's member `size`; raises ArtifactError."""
        multiple, largest = settings.whole("multiple"), settings.whole("largest", default=2048)
        if "default" in settings:
            area = math.prod(settings.wholes("default", 2))
        else:
            area = settings.whole("area", default=1024 * 1024)
        return cls(
            multiple=multiple, area=area, largest=largest, least=4 * multiple,
            enlarges=settings.flag("enlarges", True), rounded_to=settings.whole("rounded_to", least=0, default=0),
        )

    def target(self, photo: tuple[int, int], box: Size | None) -> tuple[int, int]:
        """Return width and height of the result for a photo's; raises OptionError for what can't be painted.

        Without a box the photo's proportions at the rule's area, else the largest size of them that fits the box.
        """
        width, height = photo
        if box is not None:
            scale = min(box.width / width, box.height / height)
            wide, high = round(width * scale), round(height * scale)
        elif self.enlarges or width * height > self.area:
            wide, high = by_area(width, height, self.area, self.rounded_to)
        else:
            wide, high = width, height
        size = wide // self.multiple * self.multiple, high // self.multiple * self.multiple
        if min(size) < self.least or max(size) > self.largest:
            raise OptionError(
                "this model can't paint at this size", got=f"{wide} x {high} pixels",
                allowed=f"sides of {self.least} to {self.largest} pixels",
                hint="choose another --size" if box else "crop the photo: it is too long and narrow", param="size",
            )
        return size


def by_area(width: int, height: int, area: int, rounded_to: int = 0) -> tuple[int, int]:
    """Return width and height of the same proportions with about `area` pixels, rounded to whole numbers or multiples.

    The height follows from the width before it is rounded.
    """
    ratio = width / height
    wide = math.sqrt(area * ratio)
    unit = rounded_to or 1
    high = wide / ratio
    return max(unit, round(wide / unit) * unit), max(unit, round(high / unit) * unit)


def picture_of(pixels: Pixels) -> Image.Image:
    """Return RGBA pixels as an RGB picture; what is transparent is put on white."""
    alpha = pixels[..., 3]
    if (alpha == 255).all():
        return Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    over = Image.fromarray(np.ascontiguousarray(pixels))
    flat = Image.new("RGB", over.size, "white")
    flat.paste(over, mask=over.getchannel("A"))
    return flat


def digest(several: Sequence[Image.Image]) -> bytes:
    """Return what tells pictures apart from others, for keeping what was made of them."""
    found = hashlib.blake2b(digest_size=16)
    for picture in several:
        found.update(repr(picture.size).encode())
        found.update(picture.tobytes())
    return found.digest()


def resized(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Resample by Lanczos to exactly width x height."""
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def cut_to_multiple(picture: Image.Image, multiple: int) -> Image.Image:
    """Crop the middle to sides that are multiples; raises OptionError for a picture smaller than one."""
    wide, high = (side // multiple * multiple for side in picture.size)
    if min(wide, high) < multiple:
        raise OptionError(
            "the picture is too small for this model", got=f"{picture.width} x {picture.height}",
            allowed=f"sides of {multiple} pixels or more", param="image",
        )
    left, top = (picture.width - wide) // 2, (picture.height - high) // 2
    return picture.crop((left, top, left + wide, top + high))


def to_planes(picture: Image.Image) -> Floats:
    """Return float32 (1, 3, height, width) in -1..1."""
    values = np.asarray(picture, np.float32) / 255.0
    return np.ascontiguousarray((2.0 * values - 1.0).transpose(2, 0, 1)[None])


def from_planes(planes: Floats) -> Pixels:
    """Return uint8 (height, width, 4), opaque, of float32 (1, 3, height, width) in -1..1.

    Raises ArtifactError for what is not finite: such a model is of no use.
    """
    if not np.isfinite(planes).all():
        raise ArtifactError(
            "the model's picture holds values that are no numbers",
            hint="verify the artifact, or convert it with a recipe of more bits",
        )
    values = np.clip(planes[0] * 0.5 + 0.5, 0, 1).transpose(1, 2, 0)
    pixels = np.full((*values.shape[:2], 4), 255, np.uint8)
    pixels[..., :3] = (values * 255).round()
    return pixels
