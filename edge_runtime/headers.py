"""What the first bytes of a file say, read without Pillow: its type, and what its reader would only find out too late.

Pure functions on bytes; what follows from the answers is decided in `images`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

NAMES: Final = {
    "jpeg": "JPEG", "png": "PNG", "webp": "WebP", "gif": "GIF", "bmp": "BMP", "tiff": "TIFF", "avif": "AVIF",
}
_SIGNATURES: Final = (
    (rb"\xff\xd8\xff", "jpeg"),
    (rb"\x89PNG\r\n\x1a\n", "png"),
    (rb"RIFF....WEBP", "webp"),
    (rb"GIF8[79]a", "gif"),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "bmp"),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "tiff"),
    (rb"....ftyp(.{4})*?avi[fs]", "avif"),
)
_REFUSED: Final = (
    (rb"....ftyp(hei|hev|mif1|msf1)", "HEIC"),
    (rb"....(JXL |jP  )|\xff\x0a|\xff\x4f\xff\x51", "JPEG XL or JPEG 2000"),
    (rb"%PDF", "PDF"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "EPS"),
    (rb"8BPS", "PSD"),
    (rb"\0\0[\1\2]\0", "ICO"),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(\?xml|svg|!DOCTYPE svg)", "SVG or XML"),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(!DOCTYPE html|html|head)", "a web page"),
)
# Photos have about ten scans. Each empty one costs a few bytes in the file and a pass over all pixels when decoded:
# 95 of them on 49 megapixels took 43 s from a file of 0.3 MB.
MAX_JPEG_SCANS: Final = 20

_HEAD_BYTES: Final = 256
_BOX: Final = struct.Struct(">I4s")
_ORIENTATION_TAG: Final = 0x0112
_SHORT: Final = 3  # the TIFF type of 16 bits
_JPEG_MARKER: Final = re.compile(rb"\xff+([^\x00\x01\xd0-\xd8\xff])")


def recognised(data: bytes) -> str:
    """Return the key in `NAMES` of the picture type that `data` starts as, or an empty string."""
    return _match(_SIGNATURES, data)


def refused_name(data: bytes) -> str:
    """Return what to call a file in a message that says it is not read."""
    return _match(_REFUSED, data) or "something else"


def webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height in pixels of a WebP file's canvas."""
    kind, head = data[12:16], data[:30].ljust(30, b"\0")
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def avif_size(data: bytes) -> tuple[int, int]:
    """Return width and height in pixels of an AVIF file's largest picture; raises ValueError when none is described.

    The boxes meta, iprp, ipco hold one ispe for each picture and each tile of one (ISO/IEC 23008-12).
    """
    properties = memoryview(data)
    for kind, header_bytes in ((b"meta", 4), (b"iprp", 0), (b"ipco", 0)):  # meta has a version before its boxes
        found = next((body for name, body in _boxes(properties) if name == kind), None)
        if found is None:
            raise ValueError(f"no box {kind.decode()}")
        properties = found[header_bytes:]
    sizes = [struct.unpack_from(">II", body, 4) for name, body in _boxes(properties) if name == b"ispe"]
    if not sizes or not all(all(size) for size in sizes):
        raise ValueError("no size")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return int(width), int(height)


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the boxes of ISO media files one after the other: name and content."""
    position = 0
    while position + _BOX.size <= len(data):
        size, name = _BOX.unpack_from(data, position)
        start = position + _BOX.size
        if size == 1:  # a length of 64 bits follows
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if size == 0 else position + size
        if end < start or end > len(data):
            raise ValueError("a box that doesn't end")
        yield name, data[start:end]
        position = end


def jpeg_scans(data: bytes) -> int:
    """Return how many scans a JPEG file has, i.e. passes over all pixels; may be too large up to `MAX_JPEG_SCANS`."""
    rough = data.count(b"\xff\xda")
    if rough <= MAX_JPEG_SCANS:
        return rough
    # Some phones append a film, where the two bytes occur by chance: follow the markers up to the picture's end.
    scans, position = 0, 2
    while (found := _JPEG_MARKER.search(data, position)) and found[1] != b"\xd9":
        scans += found[1] == b"\xda"
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return scans


def exif_orientation(exif: bytes) -> int:
    """Return the EXIF orientation 1 to 8, which is 1 (upright) where the tag is missing or has no such value.

    Raises ValueError or struct.error for damaged data. Pillow's reader is not used: it answers damage with Python
    warnings, which can't be told apart from those of other threads.
    """
    body = exif.removeprefix(b"Exif\0\0")
    if not body:
        return 1
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(body[:4])
    if order is None:
        raise ValueError("not the start of a TIFF directory")
    (offset,) = struct.unpack_from(f"{order}I", body, 4)
    (count,) = struct.unpack_from(f"{order}H", body, offset)
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", body, entry)
        if tag == _ORIENTATION_TAG:
            return int(value) if kind == _SHORT and 1 <= value <= 8 else 1
    return 1


def _match(table: tuple[tuple[bytes, str], ...], data: bytes) -> str:
    head = data[:_HEAD_BYTES]
    return next((name for pattern, name in table if re.match(pattern, head, re.DOTALL)), "")
