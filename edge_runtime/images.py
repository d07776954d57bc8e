"""Encoded photo -> pixels -> encoded photo, with Pillow. The one place where bytes of strangers are decoded.

Every check that can be made on the header is made before a pixel is decoded. Colour, depth and orientation are
settled here (sRGB, 8 bits, upright), so nothing after this module knows about them. No editing happens here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from edge_runtime import headers
from edge_runtime.colour import eight_bits, to_srgb
from edge_runtime.errors import ImageError, ImageSizeError, ImageTypeError, NanoedgeError, OptionError
from edge_runtime.headers import MAX_JPEG_SCANS, NAMES
from edge_runtime.limits import Limits as Limits
from edge_runtime.request import OUTPUT_FORMATS, Size

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.float32]

# The classes are called directly instead of Image.open: no other reader can be reached by a crafted file, multi-picture
# JPEG stays a plain JPEG, and the size limit is ours alone. Pillow's own limit is a process-wide variable, and turning
# its warning into an error needs process-wide filters that other threads would see.
_READERS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
}
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAX_SIDE_PIXELS: Final = {"jpeg": 65_500, "webp": 16_383, "png": 2**31 - 1, "avif": 65_535}
_AVIF_SPEED: Final = 8
"""Of 0 to 10: twice as fast as Pillow's own 6, for files a tenth larger."""
_STRIP_BYTES: Final = 1 << 20
MASK_TOLERANCE: Final = 0.02
LEAST_MARKED: Final = 16.0
_TILE_WIDTH, _TILE_LENGTH = TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A decoded, upright photo. `pixels` is uint8 (height, width, 4): RGBA, straight alpha, sRGB, owned by the caller.

    `has_alpha` says that some pixel is not opaque; `source_format` is a lower-case name such as "jpeg"; `warnings` are
    sentences for the user about what was left out or approximated.
    """

    pixels: Pixels = field(repr=False)
    has_alpha: bool
    source_format: str
    warnings: tuple[str, ...] = ()


Decode: TypeAlias = Callable[[bytes, Limits, Size | None], Photo]
"""`decode`, or what does the same in another process."""


def decode(data: bytes, limits: Limits, fit: Size | None = None) -> Photo:
    """Decode an encoded photo. With `fit` it is shrunk into that box, keeping its aspect ratio; never enlarged.

    Raises ImageError (empty, truncated, damaged), ImageTypeError (not a format that is read) or ImageSizeError (over
    `limits`), and nothing else, whatever the bytes are.
    """
    name = _recognise(data, limits)
    warnings: list[str] = []
    with _pillow_errors(name):
        source = _open(name, data, limits)
        if _has_more_frames(source):
            warnings.append("Only the first frame of the picture was read")
        turn = _orientation(name, source, warnings)
        width, height = source.size
        target = _fitted(width, height, fit, sideways=turn >= 5)
        if target != source.size:
            source.draft(None, target)  # a JPEG decodes at 1/2, 1/4 or 1/8 for a fraction of the time
        source.load()
        picture = eight_bits(source, warnings)
        if target != picture.size:
            picture = _resampled(picture, target, Image.Resampling.BICUBIC)
        picture = to_srgb(picture, source.info, warnings)
        if turn in _TURNS:
            picture = picture.transpose(_TURNS[turn])
        return Photo(
            pixels=_pixels_of(picture), has_alpha=picture.mode == "RGBA", source_format=name, warnings=tuple(warnings)
        )


def size_of(data: bytes, limits: Limits) -> tuple[int, int]:
    """Return width and height of an encoded photo as it lies in the file; no pixel is decoded. Raises as `decode`.

    Read by Python alone: no decoder written in C sees the bytes, so this may be done where a crash would hurt.
    """
    name = _recognise(data, limits)
    with _pillow_errors(name):
        if name in ("avif", "webp"):
            width, height = headers.avif_size(data) if name == "avif" else headers.webp_size(data)
            _check_pixels(width, height, limits)
            return width, height
        width, height = _open(name, data, limits).size
        return width, height


def decode_mask(data: bytes, limits: Limits, width: int, height: int, decode: Decode = decode) -> Mask:
    """Decode a mask for a photo of width x height: float32 (height, width), 1 where the edit belongs.

    A picture with transparent pixels marks by transparency, another one by white. Raises what `decode` raises, and
    ImageError for other proportions than the photo's or a mask that marks nothing.
    """
    try:
        picture = decode(data, limits, None)
    except ImageError as error:
        raise type(error)(f"the mask can't be used: {error}", param="mask") from error
    tall, wide = picture.pixels.shape[:2]
    if abs(wide * height - tall * width) > max(wide * height, tall * width) * MASK_TOLERANCE:
        raise ImageError(
            "the mask has other proportions than the photo", got=f"{wide} x {tall}", allowed=f"{width} x {height}",
            hint="send a mask of the photo's size", param="mask",
        )
    if picture.has_alpha:
        marked = 255 - picture.pixels[..., 3]
    else:
        marked = np.asarray(Image.fromarray(picture.pixels).convert("L"))
    scaled = np.asarray(Image.fromarray(marked).resize((width, height), Image.Resampling.BILINEAR), np.float32)
    if scaled.max() < LEAST_MARKED:
        raise ImageError(
            "the mask marks nothing", hint="make the area to edit transparent, or white on black", param="mask"
        )
    return scaled / 255.0


def encode(
    pixels: Pixels, has_alpha: bool, output_format: str, quality: int = 90, profile: bytes | None = None
) -> tuple[bytes, str, tuple[str, ...]]:
    """Encode uint8 (height, width, 4) RGBA pixels in one of OUTPUT_FORMATS; returns bytes, media type and warnings.

    `quality` is 1 to 100; PNG ignores it. `profile` is an ICC profile to write; no other metadata is. Raises
    OptionError for an option that is not available and ImageError for pixels of another shape or type.
    """
    _check_encodable(pixels, output_format, quality)
    has_alpha = has_alpha and bool((pixels[..., 3] != 255).any())
    # The fourth byte is skipped by the encoders when the mode is RGBX, so opaque pixels need no copy.
    mode = "RGBA" if has_alpha else "RGBX"
    height, width = pixels.shape[:2]
    picture = Image.frombuffer(mode, (width, height), np.ascontiguousarray(pixels), "raw", mode, 0, 1)
    warnings: tuple[str, ...] = ()
    stream = BytesIO()
    if output_format == "jpeg":
        if has_alpha:
            warnings = ("JPEG has no transparency: the picture was put on white",)
            flat = Image.new("RGB", picture.size, "white")
            flat.paste(picture, mask=picture.getchannel("A"))
            picture = flat
        picture.save(stream, "JPEG", quality=quality, subsampling="4:2:0", icc_profile=profile)
    elif output_format == "webp":
        picture.save(stream, "WEBP", quality=quality, method=1, icc_profile=profile or b"")
    elif output_format == "avif":
        plain = picture if has_alpha else picture.convert("RGB")
        plain.save(stream, "AVIF", quality=quality, speed=_AVIF_SPEED, icc_profile=profile or b"")
    else:
        plain = picture if has_alpha else picture.convert("RGB")
        plain.save(stream, "PNG", compress_level=1, icc_profile=profile)
    return stream.getvalue(), f"image/{output_format}", warnings


def resize_to(pixels: Pixels, width: int, height: int, has_alpha: bool = False) -> Pixels:
    """Resample uint8 (height, width, 4) pixels to exactly width x height, antialiased; for the inputs of models.

    Without `has_alpha` the fourth channel is not read and comes back as 255. Raises ImageError for a side below 1.
    """
    if min(width, height) < 1:
        raise ImageError("the size to resize to is not usable", got=f"{width} x {height}", allowed="sides of 1 or more")
    mode = "RGBA" if has_alpha else "RGBX"
    size = (pixels.shape[1], pixels.shape[0])
    picture = Image.frombuffer(mode, size, np.ascontiguousarray(pixels), "raw", mode, 0, 1)
    return _pixels_of(_resampled(picture, (width, height), Image.Resampling.BILINEAR))


def _recognise(data: bytes, limits: Limits) -> str:
    if not data:
        raise ImageError("the picture is empty", got="0 bytes", hint="send the file's content", param="image")
    if len(data) > limits.max_bytes:
        raise ImageSizeError(
            "the picture's file is too large", got=f"{len(data)} bytes", allowed=f"up to {limits.max_bytes} bytes",
            hint="send a smaller or more compressed picture", param="image",
        )
    readable = [name for name in _READERS if name not in ("webp", "avif") or features.check(name)]
    name = headers.recognised(data)
    if name not in readable:
        got = NAMES.get(name) or headers.refused_name(data)
        raise ImageTypeError(
            "the file is not a picture of a type that is read", got=got,
            allowed=", ".join(NAMES[name] for name in readable), hint="convert it to JPEG or PNG", param="image",
        )
    return name


@contextmanager
def _pillow_errors(name: str) -> Iterator[None]:
    try:
        yield
    except NanoedgeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageSizeError("the picture has too many pixels", hint="send a smaller picture", param="image") from error
    except Exception as error:
        # Readers raise whatever the bytes provoke (OSError, SyntaxError, struct.error, zlib.error, MemoryError,
        # AttributeError ...); there is no shorter list that stays true from one Pillow to the next.
        raise ImageError(
            f"the {NAMES[name]} picture is damaged or incomplete", got=str(error) or type(error).__name__,
            hint="send the whole file, or save it again as JPEG or PNG", param="image",
        ) from error


def _open(name: str, data: bytes, limits: Limits) -> ImageFile.ImageFile:
    if name == "webp":
        _check_pixels(*headers.webp_size(data), limits)  # its reader allocates the canvas when it is made
    source = _READERS[name](BytesIO(data))
    _check_pixels(*source.size, limits)
    if isinstance(source, TiffImagePlugin.TiffImageFile):
        # A tile is unpacked whole: one of 40000 x 40000 in a picture of 16 x 16 took 1.5 GB and a minute.
        _check_pixels(source.tag_v2.get(_TILE_WIDTH, 1), source.tag_v2.get(_TILE_LENGTH, 1), limits)
    if name == "jpeg" and (scans := headers.jpeg_scans(data)) > MAX_JPEG_SCANS:
        raise ImageError(
            "the JPEG picture has too many scans", got=scans, allowed=f"up to {MAX_JPEG_SCANS}",
            hint="save it again", param="image",
        )
    return source


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise ImageSizeError(
            "the picture has too many pixels", got=f"{width} x {height}", allowed=f"up to {limits.max_pixels} pixels",
            hint="send a smaller picture", param="image",
        )


def _has_more_frames(source: ImageFile.ImageFile) -> bool:
    try:
        return bool(getattr(source, "is_animated", False))
    except (OSError, SyntaxError, EOFError, LookupError, TypeError, ValueError, struct.error):
        # GIF reads the second frame's header to find out; damage there does not matter for the first.
        return False


def _orientation(name: str, source: ImageFile.ImageFile, warnings: list[str]) -> int:
    if name == "tiff":
        return 1  # Pillow turns TIFF itself, in load(), and gives the turned size before
    if name == "png":
        source.load()  # PNG may keep its EXIF behind the pixels
    exif = source.info.get("exif")
    try:
        return headers.exif_orientation(exif) if isinstance(exif, bytes) else 1
    except (ValueError, struct.error):
        warnings.append("The picture's EXIF data is damaged and was ignored")
        return 1


def _fitted(width: int, height: int, fit: Size | None, sideways: bool) -> tuple[int, int]:
    if fit is None:
        return width, height
    box = (fit.height, fit.width) if sideways else (fit.width, fit.height)
    scale = min(1.0, box[0] / width, box[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resampled(picture: Image.Image, size: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
    if picture.mode in ("RGBA", "LA"):
        # Premultiplied, or the hidden colours of transparent pixels would bleed into the edges.
        premultiplied = picture.convert("RGBa")
        return premultiplied.resize(size, resampling, reducing_gap=2.0).convert("RGBA")
    return picture.resize(size, resampling, reducing_gap=2.0)


def _pixels_of(picture: Image.Image) -> Pixels:
    """Return RGB, RGBX or RGBA as a writable uint8 (height, width, 4) array; alpha is 255 unless the mode has it."""
    width, height = picture.size
    pixels = np.empty((height, width, 4), np.uint8)
    # Pillow hands out pixels by way of several whole copies. In strips they stay in the cache: a sixth of the time.
    rows = max(1, _STRIP_BYTES // (width * 4))
    raw = "RGBA" if picture.mode == "RGBA" else "RGBX"
    for top in range(0, height, rows):
        strip = picture.crop((0, top, width, min(height, top + rows)))
        pixels[top : top + rows] = np.frombuffer(strip.tobytes("raw", raw), np.uint8).reshape(-1, width, 4)
    if raw == "RGBX":
        pixels[..., 3] = 255
    return pixels


def _check_encodable(pixels: Pixels, output_format: str, quality: int) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 4 or not pixels.size:
        raise ImageError(
            "the pixels can't be encoded", got=f"{pixels.dtype} {pixels.shape}", allowed="uint8 (height, width, 4)"
        )
    if output_format not in OUTPUT_FORMATS:
        raise OptionError(
            "output format is not written", got=output_format, allowed=", ".join(OUTPUT_FORMATS), param="output_format"
        )
    if output_format == "avif" and not features.check("avif"):
        raise OptionError(
            "AVIF is not written here", got="a Pillow without it", allowed="jpeg, png, webp", param="output_format"
        )
    if not 1 <= quality <= 100:
        raise OptionError("quality is out of range", got=quality, allowed="1 to 100", param="quality")
    if max(pixels.shape[:2]) > _MAX_SIDE_PIXELS[output_format]:
        raise OptionError(
            f"{NAMES[output_format]} can't hold a picture of this size", got=f"{pixels.shape[1]} x {pixels.shape[0]}",
            allowed=f"sides up to {_MAX_SIDE_PIXELS[output_format]}", hint="ask for png or for a smaller size",
            param="output_format",
        )
