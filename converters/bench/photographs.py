"""The photographs of a bench: a folder's, or some that come with scikit-image; and the masks that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from converters.bench.suite import Damage
from converters.calibration import BUNDLED_CALIBRATION, BUNDLED_COMPARISON, SUFFIXES
from edge_runtime import images
from edge_runtime.errors import ImageError, OptionError
from edge_runtime.request import Size

Picture = NDArray[np.uint8]
"""uint8 (height, width, 3), sRGB."""

Mask = NDArray[np.float32]
"""float32 (height, width), 1 on the subject."""

JPEG_QUALITY: Final = 92


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """A photo: `stem` names it in a report, `pixels` is uint8 (height, width, 3), `subject` the mask that was given."""

    stem: str
    pixels: Picture
    subject: Mask | None = None


def load(folder: Path | None, masks: Path | None, side: int, limit: int) -> tuple[Photograph, ...]:
    """Return at most `limit` photographs, spread over the folder, shrunk to a long side of `side` pixels.

    `masks` is a folder with pictures of the same names, white on the subject. Raises OptionError and ImageError.
    """
    paths = _bundled() if folder is None else sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise OptionError(
            "the folder has no photographs", got=folder, allowed=f"files {', '.join(SUFFIXES)}", param="photos"
        )
    step = max(1, len(paths) // limit)
    chosen = paths[::step][:limit]
    stems = [path.stem for path in chosen]
    return tuple(
        _photograph(path, path.stem if stems.count(path.stem) == 1 else path.name.replace(".", "-"), masks, side)
        for path in chosen
    )


def damaged(pixels: Picture, damage: Damage) -> Picture:
    """Return the photo as it is before it is mended, the same for every model; raises OptionError."""
    if damage.kind not in _DAMAGES:
        raise OptionError("unknown damage in the suite", got=damage.kind, allowed=", ".join(_DAMAGES), param="suite")
    return _DAMAGES[damage.kind](pixels, damage.strength)


def even(pixels: Picture) -> Picture:
    """Return the photo with even sides, so that half of it can be enlarged to the same size."""
    height, width = pixels.shape[:2]
    return pixels[: height // 2 * 2, : width // 2 * 2]


def encoded(pixels: Picture, lossless: bool) -> bytes:
    """Return the photo as PNG, or as JPEG as a camera would."""
    buffer = BytesIO()
    options: dict[str, int] = {"compress_level": 1} if lossless else {"quality": JPEG_QUALITY}
    Image.fromarray(pixels).save(buffer, "PNG" if lossless else "JPEG", **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Picture:
    """Return an encoded photo as every model sees it."""
    return np.ascontiguousarray(images.decode(data, images.Limits()).pixels[..., :3])


def on_white(data: bytes) -> tuple[Picture, Mask]:
    """Return an encoded result on white, and its opacity 0..1."""
    pixels = np.asarray(Image.open(BytesIO(data)).convert("RGBA"), np.float32)
    opacity = pixels[..., 3:] / 255.0
    return np.rint(pixels[..., :3] * opacity + 255.0 * (1.0 - opacity)).astype(np.uint8), opacity[..., 0]


def _photograph(path: Path, stem: str, masks: Path | None, side: int) -> Photograph:
    try:
        photo = images.decode(path.read_bytes(), images.Limits(), Size(width=side, height=side))
    except (OSError, ImageError) as error:
        raise ImageError("a photograph can't be read", got=f"{path}: {error}", hint="remove or replace it") from error
    pixels = np.ascontiguousarray(photo.pixels[..., :3])
    return Photograph(stem=stem, pixels=pixels, subject=_mask(path.stem, masks, pixels))


def _mask(stem: str, masks: Path | None, pixels: Picture) -> Mask | None:
    found = sorted(masks.glob(f"{stem}.*")) if masks is not None else []
    if not found:
        return None
    height, width = pixels.shape[:2]
    return images.decode_mask(found[0].read_bytes(), images.Limits(), width, height)


def _bundled() -> list[Path]:
    import skimage  # loading it takes a moment

    folder = Path(skimage.__file__).parent / "data"
    return [folder / name for name in (*BUNDLED_COMPARISON, *BUNDLED_CALIBRATION)]


def _noise(pixels: Picture, deviation: float) -> Picture:
    noisy = pixels + np.random.default_rng(0).normal(0.0, deviation, pixels.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _jpeg(pixels: Picture, quality: float) -> Picture:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer))


def _blur(pixels: Picture, deviation: float) -> Picture:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(pixels, (deviation, deviation, 0), mode="nearest"), np.uint8)


def _half(pixels: Picture, factor: float) -> Picture:
    height, width = pixels.shape[:2]
    size = (int(width / factor), int(height / factor))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


_DAMAGES: Final[Mapping[str, Callable[[Picture, float], Picture]]] = {
    "noise": _noise, "jpeg": _jpeg, "blur": _blur, "half": _half,
}  # fmt: skip
