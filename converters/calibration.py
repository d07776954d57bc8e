"""Real photographs: what activation ranges are measured on, and what converted components are compared on.

The two sets share no photograph, so that the comparison can't flatter the calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edge_runtime.errors import ImageError, OptionError

Photo = NDArray[np.uint8]
"""uint8 (height, width, 3), sRGB."""

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp")
LONG_SIDE_PIXELS: Final = 640
MAX_PHOTOS: Final = 256
COMPARISON_EVERY: Final = 4
# what the scikit-image wheel carries itself (the rest of its pictures would be downloaded); all public domain or CC0
BUNDLED_CALIBRATION: Final = ("chelsea.png", "motorcycle_left.png", "rocket.jpg", "hubble_deep_field.jpg")
BUNDLED_COMPARISON: Final = ("astronaut.png", "coffee.png")  # a person and a thing, both clearly the subject


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationData:
    """Photographs for calibration and for comparison, long side at most 640 px; `provenance` says whose they are."""

    calibration: tuple[Photo, ...]
    comparison: tuple[Photo, ...]
    provenance: str


def load_calibration(folder: Path | None) -> CalibrationData:
    """Read the photographs of a folder, or scikit-image's own; raises OptionError and ImageError."""
    return bundled_photographs() if folder is None else folder_photographs(folder)


def bundled_photographs() -> CalibrationData:
    """Return the photographs inside the scikit-image package, varied in framing and light."""
    import skimage  # the only use; loading it takes a moment

    folder = Path(skimage.__file__).parent / "data"
    return CalibrationData(
        calibration=tuple(view for name in BUNDLED_CALIBRATION for view in _views(_read(folder / name))),
        comparison=tuple(view for name in BUNDLED_COMPARISON for view in _framings(_read(folder / name))),
        provenance="photographs bundled with scikit-image",
    )


def folder_photographs(folder: Path) -> CalibrationData:
    """Return up to 256 photographs of a folder in order of name; every fourth is kept for comparison."""
    photos = read_photos(folder, MAX_PHOTOS)
    if len(photos) < 2:
        raise OptionError(
            "the calibration folder has too few photographs",
            got=f"{len(photos)} in {folder}",
            allowed=f"2 or more files {', '.join(SUFFIXES)}",
            param="calibration",
        )
    return CalibrationData(
        calibration=tuple(photo for i, photo in enumerate(photos) if i % COMPARISON_EVERY != 1),
        comparison=tuple(photos[1::COMPARISON_EVERY]),
        provenance=f"{len(photos)} photographs given with --calibration",
    )


def read_photos(folder: Path, limit: int) -> list[Photo]:
    """Return at most `limit` photographs, spread over the whole folder: neighbours by name are often of one series.

    Raises ImageError for one that can't be read.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    step = max(1, len(paths) // limit)
    return [_read(path) for path in paths[::step][:limit]]


def _read(path: Path) -> Photo:
    try:
        with Image.open(path) as image:
            image.thumbnail((LONG_SIDE_PIXELS, LONG_SIDE_PIXELS))
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"), np.uint8)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ImageError("a calibration photograph can't be read", got=path, hint="remove or replace it") from error


def _framings(photo: Photo) -> tuple[Photo, ...]:
    """The photo whole, mirrored, and its four overlapping quarters."""
    height, width = photo.shape[:2]
    tall, wide = height * 2 // 3, width * 2 // 3
    quarters = [photo[y : y + tall, x : x + wide] for y in (0, height - tall) for x in (0, width - wide)]
    return (photo, np.ascontiguousarray(photo[:, ::-1]), *quarters)


def _views(photo: Photo) -> tuple[Photo, ...]:
    """The framings, and the photo darker and brighter."""
    value = photo.astype(np.float32) / 255.0
    relit = [np.round(255.0 * value**gamma).astype(np.uint8) for gamma in (2.2, 0.5)]
    return (*_framings(photo), *relit)
